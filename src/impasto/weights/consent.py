"""By what right an artefact learned from what it learned from: as its own receipt says, read without its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from impasto.errors import ImpastoError
from impasto.receipt import Receipt
from impasto.schema import read_json
from impasto.weights.containers import container
from impasto.weights.files import read_header
from impasto.weights.layouts import diffusers, ldm

BESIDE = ".receipt.json"
"""Ending of the receipt of a file that has no room for one, such as a pickled embedding's."""

MOST_BYTES = 10_000_000  # of a receipt


def consent_at(path: Path) -> dict[str, int] | None:
    """Return how many of the works that the artefact at `path` learned from are used by which right.

    What is said is believed; `impasto verify` says whether it holds.

    Args:
        path: file or folder of a model, an adapter or an embedding.

    Returns:
        Rows by consent basis, `not said` among them (`Receipt.consent`); None without a receipt that can be read.
    """
    try:
        receipt = _receipt(path)
    except (ImpastoError, OSError):
        return None
    return receipt.consent if receipt else None


def _receipt(path: Path) -> Receipt | None:
    if path.is_dir():
        beside = path / diffusers.RECEIPT
        if not beside.is_file():
            return next((_receipt(file) for file in sorted(path.glob("**/*.safetensors"))[:1]), None)
    elif container(path) == "safetensors":
        return told(read_header(path)[1])
    else:
        beside = path.with_suffix(BESIDE)
    if not beside.is_file() or beside.stat().st_size > MOST_BYTES:
        return None
    return Receipt.parse(read_json(beside), str(beside))


def told(metadata: Mapping[str, str]) -> Receipt | None:
    """Return the receipt among a file's own strings; None without one, and where it is none."""
    try:
        return Receipt.parse(json.loads(metadata[ldm.RECEIPT]), "The receipt")
    except (KeyError, ValueError, RecursionError, ImpastoError):
        return None


def in_words(consent: Mapping[str, int] | None) -> str:
    """Return `consent` in a line: "licence 40, unknown 4"; "not known" where no works are named."""
    return ", ".join(f"{basis} {rows:,}" for basis, rows in (consent or {}).items()) or "not known"
