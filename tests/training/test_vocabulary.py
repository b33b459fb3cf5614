"""Words that no caption has: from a tiny teacher to a model that says the same at a word as at the thing it means."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

import impasto
from impasto.errors import InvalidPlan, SourceUnavailable
from impasto.receipt import Receipt
from impasto.training import runs, vectors, vocabulary
from impasto.training.loop import Tick
from impasto.training.plans import WordsPlan
from impasto.weights.load import load_folder
from tests.training import tiny

MEMBER = "package/words.json"
NAMES = ("fox", "owl", "red apple", "house")
FILLERS = [f"the{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(vocabulary.FUNCTION_WORDS)]
NEAR = {"vixen": "fox", "barn": "house", "owlet": "owl"}


def teacher(folder: Path, **changes: Any) -> tuple[Path, dict[str, Any]]:
    """Write word vectors as npm packs them; return the tarball and how a plan names it."""
    draw = torch.Generator().manual_seed(0)
    numbers = {word: torch.randn(12, generator=draw) for name in NAMES for word in name.split()}
    near = {word: numbers[name] + 0.1 * torch.randn(12, generator=draw) for word, name in NEAR.items()}
    common = {word: torch.randn(12, generator=draw) for word in FILLERS}
    far = {
        "quux": torch.randn(12, generator=draw),
        "style": numbers["fox"],
        "blue": numbers["fox"],
        "U2": numbers["fox"],
    }
    entries = {**common, **near, **far, **numbers}
    content = {"dimensions": 12, "words": list(entries)} | changes
    content.setdefault("vectors", {word: [*values.tolist(), 1.5, 0] for word, values in entries.items()})
    data = json.dumps(content).encode()
    path = folder / "words.tgz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(MEMBER)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    said = {"package": "words", "version": "1.0.0", "integrity": integrity, "file": MEMBER}
    return path, {**said, "licence": "CC0-1.0", "credit": "A Teacher"}


def words_plan(start: str, said: dict[str, Any], steps: int = 80, **changes: Any) -> dict[str, Any]:
    return {
        **tiny.shared(steps),
        "kind": "words",
        "start": start,
        "stages": [{"size": 32, "batch": 16, "steps": steps}],
        "optimiser": {"name": "adamw", "learning_rate": 0.01, "warmup": 2},
        "ema": 0.0,
        "select": {"concepts": ["fox", "owl", "red-apple", "house"]},
        "teacher": said,
        "captions": {"templates": ["{caption}", "{caption}, {style} style"], "styles": {"aa": "aa"}},
        "frequent": len(FILLERS) + 8,
        "closeness": 0.7,
        "sheet_every": 1000,
        **changes,
    }


def finish(plan: Path, model: Path, output: Path, archive: Path) -> list[Tick]:
    return [event for event in runs.words(plan, model, output, archive) if isinstance(event, Tick)]


def test_vectors_are_read_by_frequency_and_by_name(tmp_path: Path) -> None:
    tarball, _ = teacher(tmp_path)
    read = vectors.read(tarball, MEMBER, 5, ["fox", "nowhere"])
    assert read.words == (*FILLERS[:5], "fox")
    assert read.values.shape == (6, 12)
    torch.testing.assert_close(read.values.norm(dim=1), torch.ones(6))
    assert read.of(["nowhere"]) is None


@pytest.mark.parametrize(
    "changes", [{"dimensions": 40}, {"dimensions": "many"}, {"vectors": {}}, {"vectors": {"a": ["x"]}}]
)
def test_what_holds_no_vectors_is_one_error(tmp_path: Path, changes: dict[str, Any]) -> None:
    tarball, _ = teacher(tmp_path, **changes)
    with pytest.raises(SourceUnavailable, match=r"holds (no word vectors|what is no number)"):
        vectors.read(tarball, MEMBER, 5)


def test_a_word_stands_for_the_nearest_thing_when_it_is_near_enough(tmp_path: Path) -> None:
    tarball, said = teacher(tmp_path)
    plan = WordsPlan.parse(words_plan("sha256:" + "0" * 64, said), "the plan")
    read = vectors.read(tarball, MEMBER, plan.frequent, {word for name in NAMES for word in name.split()})
    found = vocabulary.pairs(read, NAMES, plan, vocabulary.styles_and_colours(plan.captions))
    assert {pair.word: pair.caption for pair in found} == NEAR  # not style, blue, U2, quux, nor what is frequent
    assert all(pair.closeness > 0.7 for pair in found)


def test_names_are_told_by_what_they_alone_have() -> None:
    names = ["cat face", "dog face", "pig face", "cow face", "bag of money"]
    assert vocabulary.told(names, {"of"})["cat face"] == ("cat",)
    assert vocabulary.told(names, {"of"})["bag of money"] == ("bag", "money")
    assert vocabulary.told(["of the"], {"of", "the"})["of the"] == ("of", "the")


def test_the_model_says_the_same_at_a_word_as_at_the_thing_and_forgets_nothing(trained: Path, tmp_path: Path) -> None:
    tarball, said = teacher(tmp_path)
    start = trained / "m" / "model"
    before = load_folder(start, torch.float32)
    plan = tmp_path / "words.toml"
    plan.write_text(tiny.toml(words_plan(before.digest, said)))
    finish(plan, start, tmp_path / "run", tarball)

    lines = [line.split("\t") for line in (tmp_path / "run" / "words.tsv").read_text().splitlines()]
    assert {word: caption for word, caption, _ in lines} == NEAR
    after = load_folder(tmp_path / "run" / "model", torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(before.unet.parameters(), after.unet.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before.vae.parameters(), after.vae.parameters(), strict=True))

    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    told = [(line["words"], line["captions"]) for line in steps if "words" in line]
    assert told[-1][0] < told[0][0] / 2
    assert told[-1][1] < told[0][0] / 2

    receipt = Receipt.parse(json.loads((tmp_path / "run" / "model" / "receipt.json").read_text()), "receipt")
    assert receipt.identity == impasto.load(str(tmp_path / "run" / "model")).digest
    assert [parent.role for parent in receipt.parents] == ["start", "text model", "autoencoder"]
    assert set(receipt.plans) == {"autoencoder", "model", "words"}
    assert "A Teacher (CC0-1.0)" in (tmp_path / "run" / "model" / "ATTRIBUTION").read_text()


def test_words_from_a_teacher_that_knows_nothing_near_are_an_error(trained: Path, tmp_path: Path) -> None:
    tarball, said = teacher(tmp_path)
    start = trained / "m" / "model"
    plan = tmp_path / "words.toml"
    plan.write_text(tiny.toml(words_plan(load_folder(start).digest, said, closeness=1.0)))
    with pytest.raises(InvalidPlan, match=r"No word is as near as closeness = 1\.0"):
        finish(plan, start, tmp_path / "run", tarball)
