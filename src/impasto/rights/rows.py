"""Rows that lie beside what learned from them, so that anyone can see which those were."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from impasto.corpus.record import Row
from impasto.corpus.store import Corpus, root_of
from impasto.errors import ImpastoError, InvalidInput, NotFound
from impasto.receipt import CorpusUse, Receipt
from impasto.training.data import selected
from impasto.training.plans import Selection

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


def beside(path: Path) -> Iterator[tuple[Row, ...]]:
    """Yield the lists of rows that a training or a release left beside the file, or in the folder, at `path`."""
    folder, name = (path, path.name) if path.is_dir() else (path.parent, path.stem)
    for place in (path.parent / f"{name}.{ROWS}", folder / ROWS):
        if place.is_file():
            with suppress(InvalidInput, NotFound):
                yield read(place)


def of_use(lists: Iterable[Sequence[Row]], use: CorpusUse) -> Sequence[Row] | None:
    """Return which of the `lists` of rows `use` names; None where it is none of them. A root takes seconds."""
    return next((rows for rows in lists if len(rows) == use.rows and root_of(rows) == use.selection), None)


def taken(corpus: Corpus, receipt: Receipt | None) -> Iterator[Sequence[Row]]:
    """Yield the parts of `corpus` that the training with `receipt` may have taken.

    They are what its plans select, the last plan first, then all rows that are not held out, then all. Which of them it
    was, if any, the Merkle root says that the receipt names as a selection.
    """
    for select in dict.fromkeys(selections(receipt)):
        with suppress(ImpastoError):  # of another corpus
            yield selected(corpus, select)
    yield selected(corpus, Selection())
    yield corpus.rows


def selections(receipt: Receipt | None, kind: str | None = None) -> Iterator[Selection]:
    """Yield what the plans in `receipt`, of one `kind` or of any, select; the last plan first."""
    for use in reversed(list(receipt.plans.values()) if receipt else []):
        if kind in (None, use.plan.get("kind")):
            with suppress(ImpastoError):  # another version's plan
                yield Selection.parse(use.plan.get("select") or {}, "the selection")  # type: ignore[arg-type]  # JSON
