"""Rows that lie beside what learned from them, so that anyone can see which those were."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from impasto.corpus import merkle
from impasto.corpus.record import Row
from impasto.corpus.store import canonical_order
from impasto.errors import InvalidInput, NotFound

ROWS = "rows.jsonl"
"""Name of the file in a release; a training puts the name of what it made before it."""


def read(path: Path) -> tuple[Row, ...]:
    """Return the rows in the file at `path`, one canonical JSON a line.

    Raises:
        NotFound: it cannot be read.
        InvalidInput: something else is in it.
    """
    try:
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON, line by line: {error}") from error
    return tuple(Row.parse(line, f"{path.name}, line {number}") for number, line in enumerate(lines, 1))


def root_of(rows: Iterable[Row]) -> str:
    """Return the Merkle root over `rows`."""
    return merkle.root([merkle.leaf_hash(row.leaf()) for row in canonical_order(rows)])


def beside(path: Path) -> Iterator[tuple[Row, ...]]:
    """Yield the lists of rows that a training or a release left beside the file, or in the folder, at `path`."""
    folder, name = (path, path.name) if path.is_dir() else (path.parent, path.stem)
    for place in (path.parent / f"{name}.{ROWS}", folder / ROWS):
        if place.is_file():
            with suppress(InvalidInput, NotFound):
                yield read(place)
