"""`impasto trace`: which works of a model's corpus a picture resembles, and whose they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from impasto.cli.generate import load
from impasto.errors import InvalidInput, NotFound, printable

if TYPE_CHECKING:
    from impasto.corpus.store import Corpus
    from impasto.pipeline import Model
    from impasto.receipt import Receipt
    from impasto.rights.trace import Trace
    from impasto.rights.works import Match, Works

app = App(name="trace", help="Find the works of a model's corpus that a picture resembles, and say whose they are.")


@app.default
def trace(
    picture: Path,
    /,
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
        model: the model to look with, whose works are searched: Glyph brings an index of those that it learned from,
            and "trace index" makes one.
        corpus: folder of another corpus to search, with its images. An index of it is made the first time, and kept.
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

    works = _of_corpus(loaded, corpus) if corpus else _of_model(loaded, model)
    found = traced(image, works, Likeness(loaded), count)
    if json_output:
        print(json.dumps(_plain(found), indent=2))
    else:
        _tell(found, picture)
    if sheet:
        drawn(found, picture.name).save(sheet)
        Console(stderr=True).print(f"Saved {sheet}.")


@app.command
def index(
    corpus: Path,
    /,
    *,
    model: str = "glyph",
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    device: str = "cpu",
) -> None:
    """Make the index of the works that a model learned from, so that pictures are traced without the corpus.

    It holds small pictures of the works, with maker, licence and link, and goes where the model goes.

    Args:
        corpus: folder of the corpus, with its images.
        model: name or folder of the model.
        output: where the index goes; by itself into the model's own folder.
        device: cpu, cuda, mps, or auto for the best there is.
    """
    from impasto.corpus.store import Corpus
    from impasto.rights.works import WORKS, learned

    place = output or _place(model) / WORKS
    if not output and not place.parent.is_dir():
        raise InvalidInput(f"{model} is one file, and an index a folder. Say where it goes with --output.")
    loaded, opened = load(model, device, None), Corpus.open(corpus)
    receipt = _receipt(loaded)
    if receipt and opened.root not in (roots := {use.root for use in receipt.corpora}):
        names = ", ".join(sorted(roots)) or "none"
        raise InvalidInput(f"The corpus in {corpus} has root {opened.root}; {model} learned from: {names}.")
    made = _made(opened, loaded, place, learned(opened, receipt))
    print(f"{place}: {made.facts.rows:,} works")


def _place(model: str) -> Path:
    from impasto.rights import artefacts

    return artefacts.find(Path(model))


def _receipt(model: Model) -> Receipt | None:
    from impasto.weights.load import LoadedModel

    return model.networks.checkpoint.receipt if isinstance(model.networks, LoadedModel) else None


def _of_model(loaded: Model, model: str) -> Works:
    """Return the index that lies in the model's own folder."""
    from impasto.rights.works import FACTS, WORKS, Works

    place = _place(model) / WORKS
    if not (place / FACTS).is_file():
        receipt = _receipt(loaded)
        roots = ", ".join(sorted({use.root for use in receipt.corpora})) if receipt else ""
        known = f"it learned from the corpus with root {roots}" if roots else "what it learned from is not known"
        raise NotFound(
            f"There is no index of works with {model} ({known}). Give the folder of a corpus with --corpus, or make "
            f"the model's own index once: impasto trace index CORPUS --model {model}"
        )
    return _fitting(Works(place), loaded)


def _fitting(works: Works, model: Model) -> Works:
    if works.facts.model_digest != model.digest:
        raise InvalidInput(
            f"The index in {works.folder} was made with the model {works.facts.model_digest}, and this is "
            f"{model.digest}. Make it again: impasto trace index CORPUS --model MODEL"
        )
    return works


def _of_corpus(model: Model, folder: Path) -> Works:
    """Return the index of the corpus in `folder`, made when it is not there yet."""
    from impasto.corpus.store import Corpus
    from impasto.rights.works import FACTS, Works
    from impasto.weights.home import home

    corpus = Corpus.open(folder)
    roots = [text.removeprefix("sha256:")[:16] for text in (corpus.manifest.root, model.digest)]
    place = home() / "works" / "-".join(roots)
    if (place / FACTS).is_file():
        return _fitting(Works(place), model)
    return _made(corpus, model, place, None)


def _made(corpus: Corpus, model: Model, place: Path, picked: Corpus | None) -> Works:
    """Make an index at `place`, and show how far that is."""
    from impasto.rights.works import build

    place.parent.mkdir(parents=True, exist_ok=True)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"Looking at the works of {corpus.manifest.name} (once)", total=None)
        making = build(corpus, model, place, picked)
        while True:
            try:
                stand = next(making)
            except StopIteration as end:
                works: Works = end.value
                return works
            progress.update(bar, completed=stand.done, total=stand.total)


def _tell(found: Trace, picture: Path) -> None:
    from impasto.rights.trace import CAVEAT

    console, facts = Console(highlight=False), found.works.facts
    among = f"the {facts.rows:,} works of the corpus {printable(facts.corpus)} that were searched"
    if not found.near_copies:
        console.print(Text.assemble((str(picture), "bold"), f" is a near copy of none of {among}."), soft_wrap=True)
    for match in found.near_copies:
        key, maker, licence, link = map(printable, _facts(match.row))
        words = f" of {key} by {maker}, {licence}{', ' * bool(link)}{link}"
        console.print(Text.assemble((str(picture), "bold"), (" is a near copy", "bold red"), words), soft_wrap=True)
    console.print(_table(f"Alike in shape ({CAVEAT})", [_line(match) for match in found.nearest]))
    rows = [("", "", *_facts(row)) for row in found.manner]
    console.print(_table(f"Alike in manner ({CAVEAT})", rows))
    if facts.null:
        words = (
            f"Distance 1.00 is as far as the works around it are. A near copy lies below {facts.threshold:.2f}, where "
            f"one in two hundred lay of {facts.null:,} pictures that nothing was learned from ({facts.null_from})."
        )
        console.print(Text(words, "dim"), soft_wrap=True)


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
        table.add_row(*(Text(printable(cell)) for cell in line))  # names out of a corpus are no markup
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
