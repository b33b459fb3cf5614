"""Tables of urls: LAION's Parquet columns, CSV, JSON lines; whatever they are called, the columns mean the same."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from impasto.corpus.record import Basis
from impasto.corpus.visit import Listed
from impasto.errors import InvalidInput

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "url": ("url", "image_url"),
    "caption": ("text", "caption", "alt", "alt_text", "top_caption"),
    "page": ("page", "page_url"),
    "maker": ("maker", "creator", "artist", "author"),
    "maker_uri": ("maker_uri", "creator_uri", "author_url"),
    "licence": ("licence", "license"),
    "licence_url": ("licence_url", "license_url"),
    "consent": ("consent", "basis"),
    "consent_evidence": ("consent_evidence",),
}
"""What a column means -> its names, without regard to case; LAION's are URL, TEXT and LICENSE."""

UNSTATED = ("", "?", "unknown", "none", "null", "nan")
"""Values that say nothing; LAION writes `?` for nearly all licences."""


def listed(path: Path) -> Iterator[Listed]:
    """Yield the rows of the table at `path`.

    A licence that a row states counts as the table's word that the work is licensed; what it states of consent must be
    a basis of `record.Basis` and counts only with evidence.

    Raises:
        InvalidInput: the table cannot be read, or has no column for urls.
    """
    for place, row in enumerate(_rows(path)):
        stated = {str(name).lower(): _text(value) for name, value in row.items()}
        found = {meaning: _first(stated, names) for meaning, names in COLUMNS.items()}
        if place == 0 and not any(name in stated for name in COLUMNS["url"]):
            raise InvalidInput(f"{path} has no column url; its columns are {', '.join(map(str, row))}.")
        yield _listed(place, found, path)


def _listed(place: int, found: Mapping[str, str], path: Path) -> Listed:
    licence = found["licence"] or "unknown"
    basis = found["consent"] or ("licence" if found["licence"] else "unknown")
    if basis not in get_args(Basis):
        basis = "unknown"
    evidence = found["consent_evidence"] or (f"{path.name}: row {place}" if found["licence"] else "")
    return Listed.parse(
        {
            "place": place,
            "url": found["url"],
            "caption": found["caption"],
            "page": found["page"] or None,
            "maker": found["maker"] or "unknown",
            "maker_uri": found["maker_uri"] or None,
            "licence": licence,
            "licence_url": found["licence_url"] or None,
            "consent": {"basis": basis, "evidence": evidence},
        },
        f"row {place} of {path}",
    )


def _first(stated: Mapping[str, str], names: tuple[str, ...]) -> str:
    values = (stated.get(name, "") for name in names)
    return next((value for value in values if value.lower() not in UNSTATED), "")


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip().encode("utf-8", errors="replace").decode("utf-8")


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidInput(f"{path} is no table that is read here; give one of {', '.join(sorted(readers))}.")
    try:
        yield from reader(path)
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidInput(f"Cannot read {path}: {error}") from error


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow.parquet as pq

    wanted = {name for names in COLUMNS.values() for name in names}
    with pq.ParquetFile(path) as file:
        columns = [name for name in file.schema_arrow.names if name.lower() in wanted]
        for batch in file.iter_batches(columns=columns or None):
            yield from batch.to_pylist()


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            yield {name: value for name, value in row.items() if name is not None}


def _jsonl(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"a line is no object: {line[:80]!r}")
                yield row
