"""`impasto list`: what models, adapters and embeddings there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from impasto.errors import WeightsChanged, printable

if TYPE_CHECKING:
    from impasto.weights.facts import Facts
    from impasto.weights.folders import Item
    from impasto.weights.store import Store, Stored

Kind = Literal["model", "adapter", "embedding", "vae"]


@dataclass(frozen=True)
class Row:
    """What is shown of a thing."""

    kind: str
    name: str
    bytes: int
    short: str | None
    licence: str | None
    consent: dict[str, int] | None
    origin: str
    path: str
    problem: str | None = None


def list_(
    *,
    kind: Kind | None = None,
    folder: Path | None = None,
    verify: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Say what models, adapters and embeddings there are: Impasto's own, pulled ones, and those of other tools.

    Those of other tools (A1111, ComfyUI, InvokeAI, or any folder) are used where they lie; `impasto folders add` says
    where. What a file is is decided from its content. Under "learned from" stands by what right its works are used,
    as its receipt counts them: "unknown" are those of which nobody said it.

    Args:
        kind: only models, adapters, embeddings or autoencoders.
        folder: only what is in this folder, which need not be registered.
        verify: read every pulled file whole and compare it with what was pulled; the exit code is 1 if one has changed.
        as_json: print everything as JSON.
    """
    from impasto.weights.facts import remembered

    console = Console(stderr=True)
    with console.status("Looking ...") as status, remembered() as facts:
        rows = []
        for row in _rows(folder, facts, verify=verify):
            status.update(f"Looking ... {printable(row.path)}")
            if kind in (None, row.kind):
                rows.append(row)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False))
    else:
        _print(rows)
    return int(any(row.problem for row in rows if verify))


def _rows(folder: Path | None, facts: Facts, *, verify: bool) -> Iterator[Row]:
    from impasto.weights.consent import consent_at
    from impasto.weights.folders import Registered, items
    from impasto.weights.home import NAMES, PACKAGED
    from impasto.weights.store import Store

    if folder is not None:
        yield from (_item(item, folder) for item in items(folder, facts))
        return
    for name in NAMES:
        if (PACKAGED / name).is_dir():
            place = PACKAGED / name
            yield Row("model", name, _bytes(place), None, "Apache-2.0", consent_at(place), "Impasto", str(place))
    yield from _stored(Store(), facts, verify=verify)
    for place in Registered():
        yield from (_item(item, place) for item in items(place, facts))


def _stored(store: Store, facts: Facts, *, verify: bool) -> Iterator[Row]:
    for stored in store:
        problem = None
        if verify:
            try:
                stored.verify(facts, again=True)
            except WeightsChanged as error:
                problem = str(error)
        yield _row(stored, problem)


def _row(stored: Stored, problem: str | None) -> Row:
    from impasto.weights.consent import consent_at

    entry = stored.entry
    origin = f"{entry.origin.repo}@{entry.origin.revision[:7]}" if entry.origin else "not known"
    licence = entry.licence.name or entry.licence.id
    consent = consent_at(stored.path)
    return Row(entry.kind, entry.name, entry.bytes, entry.short, licence, consent, origin, str(stored.path), problem)


def _item(item: Item, folder: Path) -> Row:
    from impasto.weights.consent import consent_at

    problem, consent = (None, consent_at(item.path)) if item.kind else (item.what, None)
    return Row(
        item.kind or "?", item.name, _bytes(item.path), None, None, consent, str(folder), str(item.path), problem
    )


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _print(rows: Iterable[Row]) -> None:
    from impasto.weights.consent import in_words

    rows = list(rows)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("kind", "name", "size", "hash", "licence", "learned from", "from"):
        table.add_column(title, justify="right" if title == "size" else "left", overflow="fold")
    for row in rows:
        if row.kind == "?":
            continue
        cells = (row.kind, row.name, f"{row.bytes / 1e6:,.1f} MB", row.short or "", row.licence or "")
        consent = Text(in_words(row.consent), "bold red" if "unknown" in (row.consent or ()) else "")
        shown = [*(Text(printable(cell)) for cell in cells), consent, Text(printable(row.origin))]
        table.add_row(*shown, style="red" if row.problem else "")
    console = Console()
    console.print(table)
    for row in rows:
        if row.problem:
            unusable = f"{printable(row.path)} is not usable: " if row.kind == "?" else ""
            console.print(Text(unusable + row.problem, "red"), soft_wrap=True)
