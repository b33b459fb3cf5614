"""The tokenizer against transformers' CLIPTokenizer, made from the folder that ours writes."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer as TransformersTokenizer

from impasto.models.tokenizer import CLIPTokenizer

TEXTS = [
    "",
    " ",
    "a photo of an astronaut riding a horse on mars",
    "A PHOTO of the Eiffel Tower, at Night!!!",
    "it's isn't we'll they've I'm she'd you're 'tis IT'S WE'LL",
    "1234567890 3.14159 2nd 1/2 ½ ² ⅷ ٣٤",
    "  leading,   inner \t\n\r\n and trailing   ",
    "non\u00a0breaking\u2003em\u3000ideographic\u200bzero\u2028line",
    "(((masterpiece))), best-quality:1.2 [blurry] {x|y} <lora:foo:0.8>",
    "naïve café résumé Ångström İstanbul ẞtraße ﬁne Ⅷ ǅ",
    "cafe\u0301 A\u030angstro\u0308m",
    "שלום مرحبا नमस्ते สวัสดี こんにちは 你好世界 안녕하세요 здравствуй γειά",
    "🦊🐙🚀 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 ❤️ ☺ 🇮🇹",
    "<|startoftext|>a cat<|endoftext|> and more",
    "<|STARTOFTEXT|> <|endoftext |> < |endoftext|>",
    "don\u2019t \u201cquote\u201d — dash… ©®™",
    "under_score CamelCase kebab-case https://example.org/?q=1&r=2#x",
    "\x00\x01\x7f\x85\ufeff\ufffd\U0010ffff",
    "a" * 500,
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "fox " * 100,
    "!" * 200,
]


@cache
def ours(merges: int) -> CLIPTokenizer:
    return CLIPTokenizer.packaged(merges)


@pytest.fixture(scope="module", params=[48_894, 3_000, 0], ids=["full", "3000 merges", "no merges"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CLIPTokenizer, TransformersTokenizer]:
    folder = tmp_path_factory.mktemp("tokenizer")
    ours(request.param).write_folder(folder)
    return ours(request.param), TransformersTokenizer.from_pretrained(folder)


def reference(theirs: TransformersTokenizer, texts: list[str], length: int = 77) -> list[list[int]]:
    return theirs(texts, padding="max_length", max_length=length, truncation=True)["input_ids"]


@pytest.mark.parametrize("length", [77, 8, 2])
def test_equals_transformers(pair: tuple[CLIPTokenizer, TransformersTokenizer], length: int) -> None:
    mine, theirs = pair
    for text, got, want in zip(TEXTS, mine(TEXTS, length), reference(theirs, TEXTS, length), strict=True):
        assert got == want, text


def test_equals_transformers_without_special_tokens(pair: tuple[CLIPTokenizer, TransformersTokenizer]) -> None:
    mine, theirs = pair
    for text in TEXTS:
        assert mine.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]


def test_equals_transformers_on_shuffled_words(pair: tuple[CLIPTokenizer, TransformersTokenizer]) -> None:
    mine, theirs = pair
    draw = random.Random(0)
    words = " ".join(TEXTS).split(" ")
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 40))) for _ in range(500)]
    assert mine(texts) == reference(theirs, texts)


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_equals_transformers_on_any_text(pair: tuple[CLIPTokenizer, TransformersTokenizer], text: str) -> None:
    mine, theirs = pair
    assert mine([text]) == reference(theirs, [text])


def test_reads_what_transformers_writes(pair: tuple[CLIPTokenizer, TransformersTokenizer], tmp_path: Path) -> None:
    mine, theirs = pair
    theirs.save_pretrained(tmp_path)
    again = CLIPTokenizer.read_folder(tmp_path)
    assert (len(again), again.pad_id, again.merges) == (len(mine), mine.pad_id, mine.merges)
    assert again(TEXTS) == mine(TEXTS)


def test_pads_as_stable_diffusion_2(tmp_path: Path) -> None:
    mine = CLIPTokenizer(ours(3_000).merges, pad_token="!")
    mine.write_folder(tmp_path)
    theirs = TransformersTokenizer.from_pretrained(tmp_path)
    assert mine(TEXTS) == reference(theirs, TEXTS)
    assert mine.pad([], 4)[-1] == CLIPTokenizer.read_folder(tmp_path).pad_id == 0
