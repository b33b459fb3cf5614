"""`impasto trace`: which works of a model's corpus a picture resembles, and whose they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from impasto.cli.generate import load
from impasto.errors import NotFound

if TYPE_CHECKING:
    from impasto.pipeline import Model
    from impasto.rights.trace import Trace
    from impasto.rights.works import Match, Works


def trace(
    picture: Path,
    *,
    model: str = "glyph",
    corpus: Path | None = None,
    count: int = 8,
    sheet: Path | None = None,
    json_output: Annotated[bool, Parameter(name="--json")] = False,
    device: str = "cpu",
) -> None:
    """Find the works of a model's corpus that a picture resembles, and say whose they are.

    What is found is similar, not proven source: which works a model drew on cannot be told from likeness. A near copy
    stands out from all that is around it; pictures of models that never saw the work are called that at most once in a
    hundred times.

    Args:
        picture: the file: any image.
        model: the model to look with, and, left to itself, whose corpus to search.
        corpus: folder of the corpus to search, with its images. An index of it is made the first time, and kept.
        count: how many works to show.
        sheet: where to save a picture of what was found: a PNG, JPEG or WebP file.
        json_output: print what was found as JSON.
        device: cpu, cuda, mps, or auto for the best there is.
    """
    from impasto.pictures.formats import open_image

    image = open_image(picture)
    loaded = load(model, device, None)

    from impasto.rights.likeness import Likeness
    from impasto.rights.trace import sheet as drawn
    from impasto.rights.trace import trace as traced

    works = _works(loaded, corpus)
    found = traced(image, works, Likeness(loaded), count)
    if json_output:
        print(json.dumps(_plain(found), indent=2))
    else:
        _tell(found, picture)
    if sheet:
        drawn(found, picture.name).save(sheet)
        Console(stderr=True).print(f"Saved {sheet}.")


def _works(model: Model, corpus: Path | None) -> Works:
    """Return the index to search: of `corpus`, made when it is not there yet, or the one that came with `model`."""
    from impasto.pipeline.loading import PACKAGED
    from impasto.rights.works import FACTS, Works

    if corpus is None:
        packaged = PACKAGED / model.name / "works"
        if not (packaged / FACTS).is_file():
            raise NotFound(
                f"No index of the works came with {model.name}. Give the folder of its corpus with --corpus."
            )
        return Works(packaged)
    return _of_corpus(model, corpus)


def _of_corpus(model: Model, folder: Path) -> Works:
    from impasto.corpus.store import Corpus
    from impasto.rights.works import FACTS, Works, build
    from impasto.weights.home import home

    corpus = Corpus.open(folder)
    roots = [text.removeprefix("sha256:")[:16] for text in (corpus.manifest.root, model.digest)]
    place = home() / "works" / "-".join(roots)
    if (place / FACTS).is_file():
        return Works(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"Looking at the works of {corpus.manifest.name} (once)", total=None)
        making = build(corpus, model, place)
        try:
            while True:
                stand = next(making)
                progress.update(bar, completed=stand.done, total=stand.total)
        except StopIteration as end:
            made: Works = end.value
    return made


def _tell(found: Trace, picture: Path) -> None:
    from impasto.rights.trace import CAVEAT

    console, facts = Console(), found.works.facts
    if found.near_copies:
        console.print(f"[bold red]{picture} is a near copy[/] of a work in the corpus {facts.corpus}:")
    else:
        console.print(f"{picture} is a near copy of none of the {facts.rows:,} works in the corpus {facts.corpus}.")
    console.print(_table(f"Alike in shape ({CAVEAT})", [_line(match) for match in found.nearest]))
    rows = [("", "", *_facts(row)) for row in found.manner]
    console.print(_table(f"Alike in manner ({CAVEAT})", rows))
    if facts.null:
        console.print(
            f"[dim]A near copy is nearer than {facts.threshold:.2f} of what is usual around it; one in two hundred is, "
            f"of {facts.null:,} pictures that nothing was learned from ({facts.null_from}).[/]"
        )


def _line(match: Match) -> tuple[str, ...]:
    said = "near copy" if match.near_copy else ""
    return (f"{match.ratio:.2f}", f"{said}{' mirrored' if match.mirrored and said else ''}".strip(), *_facts(match.row))


def _facts(row: Any) -> tuple[str, ...]:
    return row.key, row.maker.name, row.licence.spdx, row.source.page or row.maker.uri or ""


def _table(title: str, lines: list[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("distance", "", "work", "maker", "licence", "link"):
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def _plain(found: Trace) -> dict[str, Any]:
    from impasto.rights.trace import CAVEAT

    return {
        "corpus": found.works.facts.plain(),
        "caveat": CAVEAT,
        "shape": [
            {
                "distance": match.distance,
                "ratio": match.ratio,
                "near_copy": match.near_copy,
                "mirrored": match.mirrored,
                "row": match.row.plain(),
            }
            for match in found.nearest
        ],
        "manner": [row.plain() for row in found.manner],
    }
