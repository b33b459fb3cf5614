"""Weights of words against diffusion-prompt-embedder, which follows the web UI down to the last bit of a weight."""

from __future__ import annotations

import random

import pytest

from impasto.prompts.emphasis import parse

peer = pytest.importorskip("diffusion_prompt_embedder")

MARKS = [
    "(",
    ")",
    "[",
    "]",
    ":",
    "\\",
    "\\(",
    "\\)",
    "\\[",
    "\\]",
    "\\\\",
    " BREAK ",
    "a",
    "fox",
    "0.5",
    "3",
    ",",
    " ",
    "é",
]
WEIGHTS = [":1.2)", ":.5)", ":-2)", ": 1.3 )", ":2.)"]  # at 0 theirs runs BREAK together with the words beside it

Parts = list[tuple[str, float]]


def theirs(text: str) -> list[Parts]:
    """Their flat list as segments, without empty texts, and neighbours of equal weight as one."""
    segments: list[Parts] = [[]]
    for piece, weight in peer.parse_prompt_attention(text):
        if piece == "BREAK":
            segments.append([])
        elif piece and segments[-1] and segments[-1][-1][1] == weight:
            segments[-1][-1] = (segments[-1][-1][0] + piece, weight)
        elif piece:
            segments[-1].append((piece, weight))
    return segments


def ours(text: str) -> list[Parts]:
    return [[(part.text, part.weight) for part in segment] for segment in parse(text)]


def test_equals_the_web_uis_reading_exactly() -> None:
    draw = random.Random(0)
    for _ in range(5000):
        text = "".join(draw.choices([*MARKS, *WEIGHTS], k=draw.randint(0, 14)))
        assert ours(text) == theirs(text), text
