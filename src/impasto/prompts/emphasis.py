r"""How strongly each word of a text counts: `(more)`, `(this much:1.3)`, `[less]`, and `BREAK`.

    (x)      1.1 times as much         (x:1.3)   1.3 times as much         [x]   1 / 1.1 times as much

Brackets inside brackets multiply. `\(`, `\)`, `\[`, `\]` and `\\` are these characters themselves; any other backslash
is dropped, so that `BREA\K` is a word. A bracket that is not closed reaches to the end, one that was not opened is
text. Round and square brackets do not see each other.

Source: the public documentation of AUTOMATIC1111's web UI (wiki, "Features", attention/emphasis and BREAK).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

MORE, LESS = 1.1, 1 / 1.1

_NUMBER = r"[+-]?(?:[0-9]{1,9}(?:\.[0-9]*)?|\.[0-9]+)"
_TOKEN = re.compile(
    rf"\\(?P<escaped>[()\[\]\\]?)|(?P<weight>:\s*(?P<number>{_NUMBER})\s*\))|(?P<mark>[()\[\]])|[^\\()\[\]:]+|:"
)
_BREAK = re.compile(r"\bBREAK\b")
_MEANINGFUL = re.compile(r"[()\[\]\\|]|:(?P<number>(?=\s*[-+.0-9]))?|\b(?P<stem>AN|BREA)(?P<last>[DK])\b")


@dataclass(frozen=True)
class Part:
    """A piece of text and how much it counts; 1 is as usual."""

    text: str
    weight: float = 1.0


Segment = tuple[Part, ...]
"""What stands between two `BREAK`s."""


def parse(text: str) -> tuple[Segment, ...]:
    """Return the segments of `text`, one more than it has `BREAK`s; every text has a reading.

    Neighbours of equal weight are one part, whatever brackets they stood in.
    """
    texts: list[str | None] = []  # None is a BREAK
    weights = np.ones(len(text) + 1)  # of as many texts as there are, and room for as many as there could be
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def multiply(first: int, factor: float) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # whoever uses the weights says what is wrong with them
            weights[first : len(texts)] *= factor

    for token in _TOKEN.finditer(text):
        kind, written = token.lastgroup, token[0]
        if kind == "escaped":
            texts.append(token["escaped"])
        elif written in opened:
            opened[written].append(len(texts))
        elif kind == "weight" and opened["("]:
            multiply(opened["("].pop(), float(token["number"]))
        elif written == ")" and opened["("]:
            multiply(opened["("].pop(), MORE)
        elif written == "]" and opened["["]:
            multiply(opened["["].pop(), LESS)
        else:
            texts += _pieces(written)
    for first in opened["("]:
        multiply(first, MORE)
    for first in opened["["]:
        multiply(first, LESS)
    return _segments(texts, weights[: len(texts)].tolist())


def literal(text: str) -> tuple[Segment, ...]:
    """Return the one segment of `text` in which no character has a meaning."""
    return ((Part(text),) if text else (),)


def escape(text: str) -> str:
    """Return a prompt that says `text`, whatever is in it, also inside any brackets of a larger prompt."""
    return _MEANINGFUL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    if match["stem"]:
        return rf"{match['stem']}\{match['last']}"
    return "\\" + match[0] + ("\\" if match["number"] is not None else "")


def _pieces(text: str) -> list[str | None]:
    """Return what stands between the BREAKs of `text`, and None for each of them."""
    first, *more = _BREAK.split(text)
    if not more:
        return [first]
    *inner, last = more
    middle = (piece for text_ in inner for piece in (None, text_.strip()))
    return [first.rstrip(), *middle, None, last.lstrip()]


def _segments(texts: list[str | None], weights: list[float]) -> tuple[Segment, ...]:
    segments: list[list[Part]] = [[]]
    for text, weight in zip(texts, weights, strict=True):
        if text is None:
            segments.append([])
        elif segments[-1] and segments[-1][-1].weight == weight:
            segments[-1][-1] = Part(segments[-1][-1].text + text, weight)
        elif text:
            segments[-1].append(Part(text, weight))
    return tuple(map(tuple, segments))
