"""AIPREF: `Content-Usage: train-ai=n`, as a header and in robots.txt.

draft-ietf-aipref-vocab and draft-ietf-aipref-attach: a dictionary of tokens (RFC 9651) with the values `y` and `n`. Of
a key that is there twice in a line the last holds, of several lines the most restrictive. The vocabulary is not
settled, so of several categories that include training a generative model the most restrictive holds, and a value that
is neither `y` nor `n` is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from impasto.corpus.signals.reading import ABSENT, Reading, strictest

HEADER = "Content-Usage"

CATEGORIES = ("train-genai", "train-ai", "genai", "ai", "tdm", "bots", "all")
"""Categories of the drafts, newest and older, that include training a generative model."""


def read(lines: Iterable[str]) -> Reading:
    """Read the Content-Usage header lines of a response."""
    lines = [line for line in lines if line.strip()]
    return strictest(map(preference, lines)) if lines else ABSENT


def preference(text: str) -> Reading:
    """Read one dictionary of preferences."""
    from http_sf import StructuredFieldError, parse

    try:
        said: Any = parse(text.encode("ascii"), tltype="dictionary")
    except (StructuredFieldError, UnicodeEncodeError, ValueError):
        return Reading("unknown", text)
    values = [_value(said[key]) for key in CATEGORIES if key in said]
    return Reading(strictest(values).verdict, text)


def _value(item: Any) -> Reading:
    from http_sf import Token

    value = str(item[0]) if isinstance(item[0], Token) else ""
    return Reading("deny" if value == "n" else "allow" if value == "y" else "unknown")
