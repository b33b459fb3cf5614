"""Tokens in chunks: where they are cut, what stays together, how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import InvalidInput, NotFound
from impasto.models.tokenizer import CLIPTokenizer
from impasto.prompts.chunks import Chunk, Chunker, Length
from impasto.prompts.emphasis import Part, literal, parse
from impasto.prompts.grammar import Run, parse_negative
from impasto.prompts.grammar import parse as read
from tests.prompts.texts import PROMPTS

BOS, EOS, COMMA, FOX = 49_406, 49_407, 267, 3240


@cache
def clip(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    return CLIPTokenizer(CLIPTokenizer.packaged().merges, pad_token=pad_token)


def words(chunk: Chunk) -> list[int]:
    return list(chunk.ids[1 : 1 + chunk.used])


def cut(text: str, length: int = 77, embeddings: Mapping[str, int] | None = None, reach: int = 20) -> list[list[int]]:
    """The words of each chunk of `text`."""
    return [words(chunk) for chunk in Chunker(clip(), length, embeddings or {}, reach)(parse(text))]


def test_a_short_text_is_what_the_tokenizer_makes_of_it() -> None:
    (chunk,) = Chunker(clip())(parse("a photo of a cat"))
    assert [list(chunk.ids)] == clip()(["a photo of a cat"])
    assert (chunk.weights, chunk.used) == ((1.0,) * 77, 5)
    assert Chunker(clip()).empty.ids == (BOS, *[EOS] * 76)
    assert Chunker(clip())(parse("")) == (Chunker(clip()).empty,)


def test_weights_are_those_of_the_words() -> None:
    (chunk,) = Chunker(clip(), 8)(parse("a (red:1.5) fox"))
    assert chunk.weights == (1.0, 1.0, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_stable_diffusion_2_fills_with_exclamation_marks() -> None:
    (chunk,) = Chunker(clip("!"), 8)(parse("a fox"))
    assert chunk.ids == (BOS, 320, FOX, EOS, 0, 0, 0, 0)
    full = Chunker(clip("!"), 4)(parse("fox fox fox"))
    assert [chunk.ids for chunk in full] == [(BOS, FOX, FOX, EOS), (BOS, FOX, EOS, 0)]


@pytest.mark.parametrize(("length", "count"), [(77, 75), (32, 30), (3, 1)])
def test_a_full_chunk_is_not_followed_by_an_empty_one(length: int, count: int) -> None:
    assert cut("fox " * count, length) == [[FOX] * count]
    assert cut("fox " * (count + 1), length) == [[FOX] * count, [FOX]]
    assert cut("fox " * count + "BREAK fox", length) == [[FOX] * count, [FOX]]


def test_break_begins_a_chunk() -> None:
    assert cut("fox BREAK fox fox") == [[FOX], [FOX, FOX]]
    assert cut("BREAK fox") == [[], [FOX]]
    assert cut("fox BREAK BREAK fox") == [[FOX], [], [FOX]]
    assert cut("fox BREAK") == [[FOX]]
    assert cut("BREAK") == [[]]


@pytest.mark.parametrize(
    ("before", "after", "cut_at"),
    [
        (70, 10, 71),  # the phrase of 4 that began after the comma moves
        (55, 30, 56),  # 19 words move
        (54, 30, 75),  # 20 are too many
        (74, 10, 75),  # the comma is the last that fits: nothing to move
        (75, 10, 75),  # the comma is the first of the next chunk
        (0, 80, 75),
    ],
)
def test_a_phrase_moves_to_the_next_chunk(before: int, after: int, cut_at: int) -> None:
    ids = [FOX] * before + [COMMA] + [FOX] * after
    assert cut("fox " * before + ", " + "fox " * after) == [ids[:cut_at], ids[cut_at:]]


def test_the_last_comma_counts_and_each_chunk_has_its_own() -> None:
    assert [len(chunk) for chunk in cut("fox " * 60 + "," + "fox " * 5 + "," + "fox " * 90)] == [67, 75, 15]


def test_reach_of_nothing_moves_nothing() -> None:
    assert [len(chunk) for chunk in cut("fox " * 70 + "," + "fox " * 10, reach=0)] == [75, 6]


def test_a_moved_phrase_keeps_its_weights() -> None:
    first, second = Chunker(clip(), 8)(parse("fox fox, (fox fox fox) fox fox"))
    assert first.used == 3
    assert second.weights[1:5] == (1.1, 1.1, 1.1, 1.0)


def test_embeddings_are_found_by_the_tokens_of_their_names() -> None:
    ids = {"bad-hands-5": 2, "cat": 1, "cat style": 3}
    assert cut("a cat", embeddings=ids) == [[320, -3]]
    assert cut("a CAT STYLE, catlike cats", embeddings=ids)[0][:5] == [320, -4, -5, -6, COMMA]
    assert not any(id_ < 0 for id_ in cut("catlike cats", embeddings=ids)[0])
    assert cut("(bad-hands-5:1.2) cat", embeddings=ids) == [[-1, -2, -3]]
    assert Chunker(clip(), 8, ids)(parse("a (bad-hands-5:1.2)"))[0].weights[1:4] == (1.0, 1.2, 1.2)


def test_embeddings_by_their_full_names() -> None:
    ids = {"v1.5-neg": 2, "cat": 1}
    for text in (
        "embedding:cat",
        "embedding:cat.",
        "(embedding:cat:1.0)",
        "embedding:cat.pt",
        "embedding:cat.safetensors",
    ):
        assert cut(text, embeddings=ids) == [[-3]]
    assert cut("fox embedding:v1.5-neg, fox", embeddings=ids) == [[FOX, -1, -2, COMMA, FOX]]


def test_unknown_embeddings_are_an_error_that_lists_what_there_is() -> None:
    with pytest.raises(NotFound, match=r"unknown embedding 'cta'\. Choose among: cat, dog\."):
        cut("a embedding:cta", embeddings={"dog": 1, "cat": 2})
    with pytest.raises(NotFound, match="There is none here"):
        cut("a embedding:cta")


def test_an_embedding_is_not_cut() -> None:
    assert cut("fox " * 74 + "cat fox", embeddings={"cat": 2}) == [[FOX] * 74, [-1, -2, FOX]]
    assert cut("fox " * 73 + "cat fox", embeddings={"cat": 2}) == [[FOX] * 73 + [-1, -2], [FOX]]
    # It moves with its phrase only when the chunk is full.
    full = cut("fox " * 72 + ", fox fox cat", embeddings={"cat": 2})
    assert [len(chunk) for chunk in full] == [73, 4]
    nearly = cut("fox " * 72 + ", fox cat", embeddings={"cat": 2})
    assert [len(chunk) for chunk in nearly] == [74, 2]
    large = cut("fox , fox fox fox cat", 7, {"cat": 4})
    assert [len(chunk) for chunk in large] == [2, 3, 4]


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        ({"cat": 6, "dog": 0, "fox": 5}, r"1 to 5 vectors here, not as many as cat \(6\), dog \(0\)"),
        ({"Cat": 1, "cat": 1}, "cannot be told apart in a prompt: 'cat' and 'Cat'. Rename one"),
        ({" ": 1}, "cannot be told apart in a prompt: ' '"),
    ],
)
def test_refuses_embeddings(embeddings: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Chunker(clip(), 7, embeddings)


def test_needs_room_for_a_word() -> None:
    with pytest.raises(InvalidInput, match="A text encoder of 2 positions has no room"):
        Chunker(clip(), 2)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", Length(0, 1, 75)),
        ("a (red:1.3) fox", Length(3, 1, 75)),
        ("fox " * 80, Length(80, 2, 150)),
        ("fox BREAK fox", Length(2, 2, 150)),
        ("fox AND fox fox", Length(2, 1, 75)),
        ("[fox:fox fox fox:0.5] fox", Length(4, 1, 75)),
        ("fox <lora:ink:0.5>", Length(1, 1, 75)),
        ("cat", Length(8, 1, 75)),
    ],
)
def test_measures(text: str, length: Length) -> None:
    assert Chunker(clip(), embeddings={"cat": 8}).measure(read(text), Run(20)) == length


def test_measures_as_the_words_are_read() -> None:
    assert Chunker(clip()).measure(parse_negative("(fox) BREAK"), Run(1), literal) == Length(4, 1, 75)


@given(PROMPTS, st.integers(3, 12), st.integers(0, 20))
def test_every_token_is_there_once_and_in_order(text: str, length: int, reach: int) -> None:
    segments = parse(text)
    chunks = Chunker(clip(), length, reach=reach)(segments)
    assert [id_ for chunk in chunks for id_ in words(chunk)] == [id_ for part in _parts(segments) for id_ in _ids(part)]
    for chunk in chunks:
        assert len(chunk.ids) == len(chunk.weights) == length
        assert chunk.ids[0] == BOS
        assert set(chunk.ids[1 + chunk.used :]) == {EOS}


def _parts(segments: Sequence[Sequence[Part]]) -> list[Part]:
    return [part for segment in segments for part in segment]


def _ids(part: Part) -> list[int]:
    return clip().encode(part.text)
