"""`impasto lineage`: what a file was made from, as far back as is known."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from impasto.errors import InvalidInput, printable

if TYPE_CHECKING:
    from impasto.rights.affected import Affected
    from impasto.rights.artefacts import Artefact
    from impasto.rights.lineage import Edge, Known, Lineage

SHOWN = 5
"""Revoked rows that are named; the others are counted."""


@dataclass(frozen=True)
class _Line:
    """An artefact that is affected: by what way, in words, by which revoked rows, and whether that is sure."""

    artefact: Artefact
    way: list[Edge]
    words: str
    rows: tuple[str, ...] = ()
    affected: str = "is"

    def plain(self) -> dict[str, object]:
        made = self.artefact
        return {
            **{"kind": made.kind, "name": made.name, "digest": made.digest, "path": str(made.path)},
            **{"affected": self.affected, "rows": list(self.rows), "by": [edge.role for edge in self.way]},
        }


def lineage(
    file: Path | None = None,
    /,
    *,
    svg: Path | None = None,
    affected: str | None = None,
    corpus: list[Path] | None = None,
    folder: Annotated[list[Path] | None, Parameter(alias="--in")] = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Draw what a picture, model, adapter or embedding was made from: model, parts, adapters, corpus, makers.

    Recipes and receipts are believed as they are; "impasto verify" says whether they hold. What a recipe or receipt
    names is looked for in what comes with Impasto, in the store, in folders of other tools that were added ("impasto
    folders"), and in those given with --in.

    Args:
        file: the picture, or the file or folder of a model, adapter or embedding.
        svg: where to draw the graph as an SVG picture.
        affected: instead, list everything here that was made from what has this digest: a corpus by its Merkle root, a
            model or a part of one. The folder of a corpus stands for the rows that were revoked in it ("impasto corpus
            forget"): what learned from other rows only is left out where its rows are known here, and where they are
            not, it is said that it may be affected.
        corpus: the folder of a corpus to look makers and licences up in; repeat the option for several.
        folder: a folder to look for models, adapters and embeddings in besides, with all below it; repeat the option
            for several.
        as_json: print everything as JSON.
    """
    from impasto.rights import drawing
    from impasto.rights import lineage as rights

    if (file is None) == (affected is None):
        raise InvalidInput("Give either a file, or --affected and a digest.")
    revoked = [Path(affected)] if affected and Path(affected).is_dir() else []
    with Console(stderr=True).status("Looking at what is here ..."):
        known = rights.Known([*revoked, *(corpus or [])], folder or [])
        if affected:
            lines = _revoked(revoked[0], known) if revoked else _affected(affected, known)
        else:
            assert file is not None
            found = rights.of(file, known)
    if affected:
        _told(lines, affected, as_json=as_json)
        return
    if svg:
        _write(svg, drawing.svg(found))
    print(_json(found) if as_json else drawing.text(found), end="")


def _write(path: Path, content: str) -> None:
    from impasto.files import write_text

    if path.suffix.lower() != ".svg":
        raise InvalidInput(f"--svg {path} does not end in .svg, which is what is drawn.")
    write_text(path, content)


def _json(lineage: Lineage) -> str:
    nodes = [asdict(node) for node in lineage.nodes.values()]
    return (
        json.dumps({"root": lineage.root, "nodes": nodes, "edges": [asdict(edge) for edge in lineage.edges]}, indent=1)
        + "\n"
    )


def _affected(digest: str, known: Known) -> list[_Line]:
    """Return what was made from what has `digest`."""
    from impasto.rights.lineage import affected

    return [_Line(one, way, ", ".join(edge.role for edge in way)) for one, way in affected(digest, known)]


def _revoked(folder: Path, known: Known) -> list[_Line]:
    """Return what learned from the rows that are revoked in the corpus in `folder`, or may have."""
    from impasto.corpus import revoked
    from impasto.corpus.store import REVOKED
    from impasto.rights.affected import affected

    marks = revoked.read(folder)
    if not marks:
        raise InvalidInput(f"Nothing is revoked in {folder}: it has no {REVOKED}. Give a digest to see what has it.")
    return [_line(one, len(marks)) for one in affected(marks, known)]


def _line(one: Affected, marks: int) -> _Line:
    rows = tuple(mark.row for mark in one.marks)
    roles = ", ".join(edge.role for edge in one.way)
    if not one.surely:
        words = f"{roles}: may have learned from what was revoked; which rows those were is not known here"
        return _Line(one.artefact, one.way, words, rows, "may be")
    few = ", ".join(rows[:SHOWN]) + (f", and {len(rows) - SHOWN} more" if len(rows) > SHOWN else "")
    return _Line(one.artefact, one.way, f"{roles}: {len(rows)} of the {marks} revoked: {few}", rows)


def _told(found: list[_Line], asked: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([one.plain() for one in found], indent=1))
        return
    console = Console(highlight=False)
    for one in found:
        made = one.artefact
        console.print(Text(f"{made.kind} {printable(made.name)} {made.digest}\n  {made.path}"), soft_wrap=True)
        console.print(Text(f"  {printable(one.words)}"), soft_wrap=True)
    if not found:
        console.print(Text(f"Nothing here was made from {asked}, as far as receipts say."), soft_wrap=True)
