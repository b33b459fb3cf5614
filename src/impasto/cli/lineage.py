"""`impasto lineage`: what a file was made from, as far back as is known."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from impasto.errors import InvalidInput, printable

if TYPE_CHECKING:
    from impasto.rights.lineage import Known, Lineage


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
            model or a part of one. The folder of a corpus stands for what was revoked in it ("impasto corpus forget").
        corpus: the folder of a corpus to look makers and licences up in; repeat the option for several.
        folder: a folder to look for models, adapters and embeddings in besides, with all below it; repeat the option
            for several.
        as_json: print everything as JSON.
    """
    from impasto.rights import drawing
    from impasto.rights import lineage as rights

    if (file is None) == (affected is None):
        raise InvalidInput("Give either a file, or --affected and a digest.")
    with Console(stderr=True).status("Looking at what is here ..."):
        known = rights.Known(corpus or [], folder or [])
        found = rights.of(file, known) if file else None
    if affected:
        _affected(affected, known, as_json=as_json)
        return
    assert found is not None
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


def _affected(digest: str, known: Known, *, as_json: bool) -> None:
    from impasto.rights.lineage import affected

    with Console(stderr=True).status("Looking at what is here ..."):
        found = [one for each in _digests(digest) for one in affected(each, known)]
    if as_json:
        listing = [
            {
                "kind": one.kind,
                "name": one.name,
                "digest": one.digest,
                "path": str(one.path),
                "by": [e.role for e in way],
            }
            for one, way in found
        ]
        print(json.dumps(listing, indent=1))
        return
    console = Console(highlight=False)
    for one, way in found:
        console.print(Text(f"{one.kind} {printable(one.name)} {one.digest}\n  {one.path}"), soft_wrap=True)
        console.print(Text(f"  {', '.join(printable(edge.role) for edge in way)}"), soft_wrap=True)
    if not found:
        console.print(Text(f"Nothing here was made from {digest}, as far as receipts say."), soft_wrap=True)


def _digests(affected: str) -> list[str]:
    """Return the digest that `affected` is, or the roots of the corpora whose rows are revoked in that folder."""
    from impasto.corpus import revoked
    from impasto.corpus.store import REVOKED

    folder = Path(affected)
    if not folder.is_dir():
        return [affected]
    roots = list(dict.fromkeys(mark.root for mark in revoked.read(folder)))
    if not roots:
        raise InvalidInput(f"Nothing is revoked in {folder}: it has no {REVOKED}. Give a digest to see what has it.")
    return roots
