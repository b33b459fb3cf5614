"""How well `impasto trace` tells copies from likenesses, and how fast it looks through a million works.

    python benchmarks/trace.py copies --corpus corpora/glyph --model glyph
    python benchmarks/trace.py million

`copies` plants copies of works that a model may have learned from, changed in ways that copies are, and counts those
that are called near copies and traced to the very work (aim: 99 in 100). Beside it stand pictures that nothing was
learned from, which must not be (aim: at most 1 in 100): held-out drawings that the threshold was not measured on.
`million` measures one search, and the exact comparison of what it found, over a million random works on disk.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cyclopts import App
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

import impasto
from impasto.corpus.record import Row
from impasto.corpus.store import Corpus
from impasto.rights import works as indexes
from impasto.rights.likeness import Likeness, tiled_distance
from impasto.rights.works import CANDIDATES, DIMENSIONS, Works, build

app = App(help="Measure `impasto trace`.")
Change = Callable[[Image.Image], Image.Image]


def on(colour: str) -> Change:
    """Return what lays a drawing on `colour`."""

    def change(image: Image.Image) -> Image.Image:
        laid = Image.new("RGBA", image.size, colour)
        laid.alpha_composite(image)
        return laid.convert("RGB")

    return change


def jpeg(image: Image.Image) -> Image.Image:
    """Return a drawing on white through JPEG of quality 75."""
    data = io.BytesIO()
    on("white")(image).save(data, "JPEG", quality=75)
    return Image.open(data).convert("RGB")


def cropped(image: Image.Image) -> Image.Image:
    """Return a drawing on white without 3 % of its sides."""
    laid = on("white")(image)
    edge = round(0.03 * laid.width)
    return laid.crop((edge, edge, laid.width - edge, laid.height - edge))


CHANGES: dict[str, Change] = {
    "as it is": on("white"),
    "on blue": on("#2f6fde"),
    "on yellow": on("#ffd23f"),
    "JPEG 75": jpeg,
    "half the size": lambda image: on("white")(image).resize((image.width // 2, image.height // 2)),
    "mirrored": lambda image: on("white")(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped by 3 %": cropped,
}


@app.command
def copies(*, corpus: Path, model: str = "glyph", count: int = 200, index: Path | None = None, seed: int = 0) -> None:
    """Plant copies of `count` works, and count those found; an index is made in `index`, or used when it is there."""
    opened, loaded = Corpus.open(corpus), impasto.load(model)
    likeness, place = Likeness(loaded), index or Path(tempfile.mkdtemp()) / "works"
    works = Works(place) if (place / indexes.FACTS).is_file() else _made(opened, loaded, place)
    rows = [row for row in opened.rows if row.split == "train"]
    chosen = [rows[i] for i in np.random.default_rng(seed).choice(len(rows), min(count, len(rows)), replace=False)]
    table = Table(
        "picture", "near copy", "of the very work", title=f"{works.facts.rows:,} works of {opened.manifest.name}"
    )
    for name, change in CHANGES.items():
        _add(table, name, _judged(works, likeness, [(row, change(opened.image(row))) for row in chosen]))
    unseen = [row for row in opened.rows if row.split != "train"]
    half = _with_threshold(works, likeness, opened, unseen[::2])
    _add(
        table,
        "held out, not learned from",
        _judged(half, likeness, [(r, on("white")(opened.image(r))) for r in unseen[1::2]]),
    )
    Console().print(table)


def _made(corpus: Corpus, model: Any, place: Path) -> Works:
    for _ in track(build(corpus, model, place), description="Looking at the works"):
        pass
    return Works(place)


def _with_threshold(works: Works, likeness: Likeness, corpus: Corpus, unseen: Iterable[Row]) -> Works:
    """Return the index as if its threshold had been measured on `unseen` alone."""
    ratios = [works.nearest(likeness, on("white")(corpus.image(row)), 1)[0].ratio for row in unseen]
    again = Works(works.folder)
    threshold = float(np.quantile(ratios, indexes.FLAGGED, method="lower"))
    again.facts = works.facts.model_copy(update={"threshold": threshold})
    return again


def _judged(works: Works, likeness: Likeness, pictures: list[tuple[Row, Image.Image]]) -> tuple[int, int, int]:
    """Return how many of the `pictures` are near copies, how many of the very work, and how many there are."""
    copies = exact = 0
    for row, picture in pictures:
        first = works.nearest(likeness, picture, 1)[0]
        copies += first.near_copy
        exact += first.near_copy and first.row.id == row.id
    return copies, exact, len(pictures)


def _add(table: Table, name: str, counts: tuple[int, int, int]) -> None:
    copies, exact, total = counts
    table.add_row(name, f"{copies} of {total} ({copies / total:.1%})", f"{exact} of {total} ({exact / total:.1%})")


@app.command
def million(*, rows: int = 1_000_000, queries: int = 50, seed: int = 0) -> None:
    """Time a search over `rows` random works on disk, and the exact comparison of what it finds."""
    draw = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path, part = Path(folder) / "shape.usearch", 10_000
        search = indexes.search(DIMENSIONS)
        for first in track(range(0, rows, part), description="Making the works"):
            vectors = draw.standard_normal((min(part, rows - first), DIMENSIONS), np.float32)
            search.add(np.arange(first, first + len(vectors)), vectors)
        search.save(str(path))
        latents = np.memmap(Path(folder) / "latents", np.float16, "w+", shape=(rows, 16, 8, 8))
        viewed = indexes.search(DIMENSIONS)
        viewed.view(str(path))
        seconds = []
        for _ in range(queries):
            query, own = draw.standard_normal(DIMENSIONS, np.float32), torch.zeros(16, 8, 8)
            began = time.perf_counter()
            places = viewed.search(query, CANDIDATES).keys
            tiled_distance(torch.from_numpy(latents[np.asarray(places, np.int64)]).float(), own)
            seconds.append(time.perf_counter() - began)
        low, high = np.quantile(seconds, [0.5, 0.95]) * 1000
        print(f"{rows:,} works: {low:.1f} ms a search in the middle, {high:.1f} ms at the 95th percentile")


if __name__ == "__main__":
    app()
