"""The tokenizer by itself: vocabulary, padding, files that are not what they should be."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
from pathlib import Path

import pytest

from impasto.errors import ImpastoError, InvalidInput, NotFound
from impasto.models.tokenizer import EOS, PACKAGED, CLIPTokenizer


@pytest.fixture(scope="module")
def full() -> CLIPTokenizer:
    return CLIPTokenizer.packaged()


def test_the_packaged_file_is_the_one_its_note_describes() -> None:
    digest = hashlib.sha256(PACKAGED.read_bytes()).hexdigest()
    assert digest in PACKAGED.with_name("bpe_simple_vocab_16e6.md").read_text(encoding="utf-8")


def test_full_vocabulary(full: CLIPTokenizer) -> None:
    assert (len(full), full.bos, full.eos, full.pad_id) == (49_408, 49_406, 49_407, 49_407)
    # What SD 1.x reads for this prompt, as published in many places.
    assert full.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]
    assert full.pieces("a photo of a cat's") == ["a</w>", "photo</w>", "of</w>", "a</w>", "cat</w>", "'s</w>"]


@pytest.mark.parametrize("merges", [0, 1, 3582])
def test_the_first_merges_make_a_smaller_vocabulary(full: CLIPTokenizer, merges: int) -> None:
    small = full.truncate(merges)
    assert (len(small), small.bos, small.eos) == (514 + merges, 512 + merges, 513 + merges)
    assert small.encode("the fox, 7 🦊") == CLIPTokenizer.packaged(merges).encode("the fox, 7 🦊")
    assert max(small.encode("the quick brown fox jumps over a lazy dog")) < small.bos


def test_pads_between_beginning_and_end(full: CLIPTokenizer) -> None:
    assert full.pad([5, 6], 6) == [49_406, 5, 6, 49_407, 49_407, 49_407]
    assert full.pad([5, 6, 7, 8], 5) == [49_406, 5, 6, 7, 49_407]
    assert [len(ids) for ids in full(["", "word " * 200])] == [77, 77]
    with pytest.raises(InvalidInput, match="length 1 has no room"):
        full.pad([], 1)


def test_folder_comes_back(full: CLIPTokenizer, tmp_path: Path) -> None:
    small = full.truncate(100)
    small.write_folder(tmp_path / "new" / "tokenizer", length=32)
    again = CLIPTokenizer.read_folder(tmp_path / "new" / "tokenizer")
    assert again.merges == small.merges
    assert again.encode("anything <|endoftext|>") == small.encode("anything <|endoftext|>")
    assert json.loads((tmp_path / "new/tokenizer/tokenizer_config.json").read_text())["model_max_length"] == 32
    assert CLIPTokenizer.from_merges(tmp_path / "new/tokenizer/merges.txt").merges == small.merges


def test_survives_pickling(full: CLIPTokenizer) -> None:
    small = full.truncate(10)
    assert pickle.loads(pickle.dumps(small))(["fox"]) == small(["fox"])


def test_merges_file_may_be_gzipped_and_lack_a_heading(tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_bytes(gzip.compress(b"f o\nfo x</w>\n"))
    assert CLIPTokenizer.from_merges(tmp_path / "merges.txt").pieces("fox") == ["fox</w>"]


def test_text_must_be_unicode(full: CLIPTokenizer) -> None:
    with pytest.raises(InvalidInput, match="Not valid Unicode"):
        full.encode("a \ud800")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("#version: 0.2\na b c\n", r"merges.txt line 2 is not a merge"),
        ("a\n", r"line 1 is not a merge"),
        ("a b\na b\n", "1 merges make a token that an earlier one makes already"),
        ("ab c\n", "merges do not fit its vocabulary"),
    ],
)
def test_refuses_merges(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text(content)
    with pytest.raises(InvalidInput, match=message):
        CLIPTokenizer.from_merges(tmp_path / "merges.txt")


def test_refuses_more_merges_than_there_are(full: CLIPTokenizer, tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("a b\n")
    with pytest.raises(InvalidInput, match=r"Cannot take 2 merges: .* has 1"):
        CLIPTokenizer.from_merges(tmp_path / "merges.txt", 2)
    with pytest.raises(InvalidInput, match="Cannot take 48895 merges: the tokenizer has 48894"):
        full.truncate(48_895)


@pytest.mark.parametrize(
    "files",
    [
        {"vocab.json": "[]", "merges.txt": ""},
        {"vocab.json": "{", "merges.txt": ""},
        {"vocab.json": '{"a": 0}', "merges.txt": ""},
        {"vocab.json": f'{{"{EOS}": 0, "<|startoftext|>": 0}}', "merges.txt": ""},
        {"vocab.json": f'{{"{EOS}": "0", "<|startoftext|>": 1}}', "merges.txt": ""},
        {"vocab.json": f'{{"{EOS}": true, "<|startoftext|>": false}}', "merges.txt": ""},
        {"tokenizer.json": "[" * 100_000},
        {"tokenizer.json": "{}"},
        {"tokenizer.json": '{"model": {"vocab": {}, "merges": [1, null]}}'},
        {"tokenizer.json": '{"model": {"vocab": {}, "merges": []}}', "tokenizer_config.json": "\udcff"},
        {"tokenizer.json": '{"model": {"vocab": {}, "merges": []}}', "tokenizer_config.json": '{"pad_token": "x"}'},
    ],
)
def test_refuses_folder(files: dict[str, str], tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ImpastoError):
        CLIPTokenizer.read_folder(tmp_path)


def test_says_what_a_folder_lacks(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"vocab\.json and merges\.txt, or tokenizer\.json, should be there"):
        CLIPTokenizer.read_folder(tmp_path)
    with pytest.raises(NotFound, match="No such file"):
        CLIPTokenizer.from_merges(tmp_path / "merges.txt")
