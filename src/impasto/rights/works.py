"""An index of the works in a corpus: what is needed to find those that a picture resembles, without the corpus itself.

    index.json           what it was made from, and the threshold of near copies
    vectors.safetensors  latents of every work (N, C, 8, 8), and the projections that the searches use
    shape.usearch        where the works lie by what they show; read from the disk as it is searched
    manner.usearch       where they lie by how they are drawn
    rows.parquet         the works: maker, licence, link, in the order of the vectors
    images/*.parquet     small pictures of them

The searches are approximate (HNSW, Malkov & Yashunin 1603.09320); what they find is compared exactly.
"""

from __future__ import annotations

import io
import secrets
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from typing_extensions import Self

from impasto.corpus.record import Row
from impasto.corpus.store import Corpus, Images, RowFile, write_images, write_rows
from impasto.errors import CorpusError, InvalidPlan, NotFound
from impasto.files import write_bytes
from impasto.pipeline import Model
from impasto.receipt import Receipt
from impasto.rights.artefacts import WORKS as WORKS  # where `build` usually puts one
from impasto.rights.likeness import Likeness, in_parts, tiled_distance
from impasto.rights.rows import selections
from impasto.schema import Digest, Frozen, read_json
from impasto.training.data import selected
from impasto.training.plans import Selection
from impasto.weights import files

FACTS = "index.json"
DIMENSIONS = 128
"""Of the vectors that are searched, at most."""

CANDIDATES = 50
"""How many of the nearest works are compared exactly."""

NEIGHBOURS = 10
"""How many of those say how crowded it is around a picture."""

FLAGGED = 0.005
"""Share of unseen pictures that may lie below the threshold: half of the one in a hundred that is promised, since the
threshold is itself measured on some hundreds of pictures only."""

NULL_ROWS = 2000
LEAST_NULL_ROWS = 100
THUMBNAIL = 64


class IndexFacts(Frozen):
    """What `index.json` says.

    Attributes:
        format: version of the layout.
        corpus: name of the corpus.
        root: its Merkle root.
        model: name of the model that looked at it.
        model_digest: of that model.
        selection: Merkle root over the works in the index.
        rows: how many those are.
        threshold: likeness below which a work is called a near copy.
        null: how many pictures that nothing was learned from the threshold was measured on.
        null_from: which those were.
    """

    format: Literal["impasto-works/1"] = "impasto-works/1"
    corpus: str
    root: Digest
    selection: Digest
    model: str
    model_digest: Digest
    rows: Annotated[int, Field(ge=1)]
    threshold: Annotated[float, Field(ge=0)]
    null: Annotated[int, Field(ge=0)]
    null_from: str


@dataclass(frozen=True)
class Indexing:
    """Where the making of an index stands: `done` of `total` works."""

    done: int
    total: int


@dataclass(frozen=True)
class Match:
    """A work that a picture resembles.

    Attributes:
        row: the work.
        distance: tiled distance to it.
        ratio: that distance as a share of what the neighbourhood has; small means that this work stands out.
        near_copy: whether the ratio lies below the index's threshold.
        mirrored: whether it is the picture's mirror image that is alike.
        place: of the work in the index.
    """

    row: Row
    distance: float
    ratio: float
    near_copy: bool
    mirrored: bool
    place: int


@dataclass(frozen=True, eq=False)
class Projection:
    """The directions in which works differ most: principal components, each divided by nothing.

    Attributes:
        mean: (F,) of the works.
        scale: (F,) that every feature is divided by.
        directions: (F, D).
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor

    @classmethod
    def fitted(cls, vectors: Tensor) -> Self:
        """Fit `vectors` (N, F): features of one deviation, the `DIMENSIONS` directions in which they differ most."""
        mean, scale = vectors.mean(0), vectors.std(0, correction=0).clamp(min=1e-6)
        standard = ((vectors - mean) / scale).double()
        _, directions = torch.linalg.eigh(standard.T @ standard)  # in rising order
        return cls(mean, scale, directions.flip(1)[:, :DIMENSIONS].float().contiguous())

    def __call__(self, vectors: Tensor) -> np.ndarray:
        """Map (N, F) to float32 (N, D)."""
        mapped: np.ndarray = ((vectors - self.mean) / self.scale @ self.directions).numpy()
        return mapped


class Works:
    """An index that was opened.

    Attributes:
        folder: where it is.
        facts: what it says of itself.
        rows: the works, read as they are asked for.
    """

    def __init__(self, folder: Path) -> None:
        """Open the index in `folder`; vectors and rows stay on the disk.

        Raises:
            NotFound: there is none.
        """
        if not (folder / FACTS).is_file():
            raise NotFound(f"No index of works in {folder}: it has no {FACTS}.")
        self.folder = folder
        self.facts = IndexFacts.parse(read_json(folder / FACTS), str(folder / FACTS))
        self.rows = RowFile(folder / "rows.parquet")
        self._images = Images(folder / "images")
        self._opened: dict[str, Any] = {}

    def image(self, row: Row) -> Image.Image:
        """Return the small picture of `row`, RGBA."""
        with Image.open(io.BytesIO(self._images.get(row.id))) as opened:
            return opened.convert("RGBA")

    def nearest(self, likeness: Likeness, image: Image.Image, count: int = 8) -> list[Match]:
        """Return the `count` works whose shapes are most like `image` or its mirror image, nearest first."""
        return self.nearest_to(_both_ways(likeness, [image])[0], count)

    def nearest_to(self, latents: Tensor, count: int = 8) -> list[Match]:
        """As `nearest`, of the latents (2, C, 8, 8) of a picture and of its mirror image."""
        found = [self._compared(latent, mirrored=bool(side)) for side, latent in enumerate(latents)]
        best = sorted((match for side in found for match in side), key=lambda match: match.distance)
        first = {match.place: match for match in reversed(best)}
        return sorted(first.values(), key=lambda match: match.distance)[:count]

    def alike_in_manner(self, likeness: Likeness, image: Image.Image, count: int = 8) -> list[Row]:
        """Return the `count` works that are drawn most like `image`, nearest first."""
        places = self._search("manner", self._projection("manner")(likeness.manner(likeness.encoded([image]))), count)
        return [self.rows[place] for place in places[0]]

    def _compared(self, latent: Tensor, *, mirrored: bool, without: int = -1) -> list[Match]:
        query = self._projection("shape")(latent.flatten()[None])
        places = [place for place in self._search("shape", query, CANDIDATES + 1)[0] if place != without][:CANDIDATES]
        distances = tiled_distance(self._latents[places].float(), latent)
        crowd = float(distances.sort().values[1 : NEIGHBOURS + 1].mean()) if len(places) > 1 else float(distances[0])
        return [
            Match(self.rows[place], distance, ratio, ratio < self.facts.threshold, mirrored, place)
            for place, distance in zip(places, distances.tolist(), strict=True)
            for ratio in (distance / max(crowd, 1e-6),)
        ]

    @cached_property
    def _vectors(self) -> files.TensorFile:
        return files.load(self.folder / "vectors.safetensors")

    @cached_property
    def _latents(self) -> Tensor:
        return self._vectors["latents"]

    def _projection(self, name: str) -> Projection:
        return Projection(*(self._vectors[f"{name}.{part}"] for part in ("mean", "scale", "directions")))

    def _search(self, name: str, queries: np.ndarray, count: int) -> list[list[int]]:
        found = self._searches(name).search(queries, min(count, self.facts.rows))
        keys = np.atleast_2d(found.keys)
        return [[int(key) for key in line] for line in keys]

    def _searches(self, name: str) -> Any:
        if name not in self._opened:
            index = search(self._vectors[f"{name}.directions"].shape[1])
            index.view(str(self.folder / f"{name}.usearch"))
            self._opened[name] = index
        return self._opened[name]


def search(dimensions: int) -> Any:
    """Return an empty search (usearch) over vectors of so many `dimensions`, by Euclidean distance."""
    from usearch.index import Index

    return Index(
        ndim=dimensions, metric="l2sq", dtype="f16", connectivity=32, expansion_add=256, expansion_search=4 * CANDIDATES
    )


def learned(corpus: Corpus, receipt: Receipt | None) -> Corpus:
    """Return the rows of `corpus` that text encoder and UNet of the model with `receipt` learned from, last if twice.

    Which those are is followed from the plans in the receipt, and is only believed where it comes to the Merkle root
    that the receipt names. Where none does, they are all the rows that are there to be learned from.
    """
    roots = {use.selection for use in receipt.corpora} if receipt else set()
    for select in selections(receipt, "model"):
        with suppress(InvalidPlan):  # of another corpus
            picked = _of(corpus, select)
            if picked.root in roots:
                return picked
    return _of(corpus, Selection())


def _of(corpus: Corpus, select: Selection) -> Corpus:
    rows = {row.key for row in selected(corpus, select)}
    return corpus.subset(lambda row: row.key in rows)


def build(corpus: Corpus, model: Model, folder: Path, picked: Corpus | None = None) -> Generator[Indexing, None, Works]:
    """Make the index of works of `corpus` in `folder`, whole or not at all.

    Args:
        corpus: with its images.
        model: that looks at them.
        folder: an index that is there is replaced.
        picked: the rows to index, a subset of `corpus`; by itself all that are there to be learned from.

    Its threshold is the `FLAGGED` quantile of the likeness of pictures that nothing was learned from: the rows held
    out, or, where those are few, works with all of their own concept left out of account.

    Raises:
        CorpusError: the corpus has no images, or no rows.
        CorpusChanged: an image is not the one that its row names.
    """
    picked = picked or _of(corpus, Selection())
    rows = list(picked.rows)
    held_out = [row for row in corpus.rows if row.split != "train"][:NULL_ROWS]
    if not rows or not corpus.has_images:
        raise CorpusError(f"{corpus.folder} has no {'images' if rows else 'rows'} to make an index of.")
    likeness, total = Likeness(model), len(rows) + len(held_out)
    shapes, manners, nulls = [], [], []
    for part in in_parts(corpus.image(row) for row in rows):
        latents = likeness.encoded(part)
        shapes.append(likeness.shape(latents).half())
        manners.append(likeness.manner(latents))
        yield Indexing(sum(map(len, shapes)), total)
    for part in in_parts(corpus.image(row) for row in held_out):
        nulls.append(_both_ways(likeness, part))
        yield Indexing(len(rows) + sum(map(len, nulls)), total)
    new = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        new.mkdir(parents=True)
        _write(new, corpus, rows, torch.cat(shapes), torch.cat(manners))
        facts = IndexFacts(
            corpus=corpus.manifest.name,
            root=corpus.manifest.root,
            selection=picked.root,
            model=model.name,
            model_digest=model.digest,
            rows=len(rows),
            threshold=0,
            null=0,
            null_from="nothing",
        )
        write_bytes(new / FACTS, facts.canonical())
        write_bytes(new / FACTS, _calibrated(Works(new), torch.cat(nulls) if nulls else None).canonical())
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return Works(folder)


def _both_ways(likeness: Likeness, images: Sequence[Image.Image]) -> Tensor:
    """Return the shapes (N, 2, C, 8, 8) of `images` and of their mirror images."""
    mirrors = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
    return torch.stack([likeness.shape(likeness.encoded(part)) for part in (images, mirrors)], 1)


def _write(folder: Path, corpus: Corpus, rows: Sequence[Row], shapes: Tensor, manners: Tensor) -> None:
    fields = {"shape": shapes.flatten(1).float(), "manner": manners}
    tensors = {"latents": shapes}
    for name, vectors in fields.items():
        projection = Projection.fitted(vectors)
        for part in ("mean", "scale", "directions"):
            tensors[f"{name}.{part}"] = getattr(projection, part)
        _write_search(folder / f"{name}.usearch", projection(vectors))
    files.save(folder / "vectors.safetensors", tensors)
    write_rows(folder / "rows.parquet", rows)
    (folder / "images").mkdir()
    write_images(folder / "images", _thumbnails(corpus, rows))


def _write_search(path: Path, vectors: np.ndarray) -> None:
    index = search(vectors.shape[1])
    index.add(np.arange(len(vectors)), vectors, threads=1)  # one thread, so that the file is always the same
    index.save(str(path))


def _thumbnails(corpus: Corpus, rows: Sequence[Row]) -> Iterator[tuple[str, bytes]]:
    for row in {row.id: row for row in rows}.values():
        image, data = corpus.image(row), io.BytesIO()
        image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        image.save(data, "WEBP", quality=80, method=6)
        yield row.id, data.getvalue()


def _calibrated(works: Works, unseen: Tensor | None) -> IndexFacts:
    """Return the facts of `works` with the threshold that the latents (M, 2, C, 8, 8) of `unseen` pictures set."""
    if unseen is not None and len(unseen) >= LEAST_NULL_ROWS:
        ratios = [works.nearest_to(pair, 1)[0].ratio for pair in unseen]
        origin = "held-out rows"
    else:
        places = torch.linspace(0, works.facts.rows - 1, min(works.facts.rows, NULL_ROWS)).long().unique().tolist()
        ratios = [ratio for place in places if (ratio := _without_itself(works, place)) is not None]
        origin = "rows of the corpus, without their own concept"
    if not ratios:
        return works.facts.model_copy(update={"null_from": "nothing: too few works to tell"})
    threshold = float(np.quantile(ratios, FLAGGED, method="lower"))
    return works.facts.model_copy(update={"threshold": threshold, "null": len(ratios), "null_from": origin})


def _without_itself(works: Works, place: int) -> float | None:
    own = works.rows[place]
    matches = works._compared(works._latents[place].float(), mirrored=False, without=place)
    ratios = [m.ratio for m in matches if m.row.id != own.id and (own.concept is None or m.row.concept != own.concept)]
    return min(ratios, default=None)
