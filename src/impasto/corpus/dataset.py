"""A corpus for a training loop: drawings as one tensor, beside their rows.

Nothing is taken on trust: the rows must have the root that the corpus promises, every row is judged again by the
policy, and every image must be the one that its row names.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from impasto.corpus import revoked
from impasto.corpus.policy import Policy
from impasto.corpus.record import Row, Split
from impasto.corpus.store import Corpus
from impasto.errors import CorpusChanged, CorpusError, NotFound, RowRefused


@dataclass(frozen=True)
class Drawings:
    """Images and rows, in the order of the corpus.

    Attributes:
        images: uint8 (N, 4, H, W), RGBA with straight alpha.
        rows: N rows.
    """

    images: torch.Tensor
    rows: tuple[Row, ...]

    @property
    def captions(self) -> list[str]:
        """The N captions."""
        return [row.caption.text for row in self.rows]


def load(
    corpus: Corpus,
    split: Split = "train",
    concepts: Collection[str] | None = None,
    collections: Collection[str] | None = None,
    policy: Policy | None = None,
) -> Drawings:
    """Load the rows of `split`, optionally only those of some concepts and collections.

    Args:
        corpus: opened, with its images, which have all one size.
        split: `train` or `held-out`.
        concepts: names of concepts, such as `concepts.read_concepts` returns; None takes all, and rows without one.
        collections: names of collections; None takes all.
        policy: judges the rows; None means the corpus's own.

    Raises:
        RowRefused: the policy does not admit one of the corpus's rows, whichever rows were asked for.
        CorpusChanged: the rows do not have the root that the corpus promises, or an image is missing or changed.
        NotFound: a collection that the corpus does not have.
        CorpusError: no row is left, or the images differ in size.
    """
    refuse(corpus, policy or corpus.policy)
    _known(collections, {row.source.collection for row in corpus.rows})
    rows = tuple(
        row
        for row in corpus.rows
        if row.split == split
        and (concepts is None or row.concept in concepts)
        and (collections is None or row.source.collection in collections)
    )
    if not rows:
        raise CorpusError(f"No rows of {corpus.folder} are left to load: split {split!r} and the filters exclude all.")
    if len(sizes := {(row.image.width, row.image.height) for row in rows}) > 1:
        raise CorpusError(f"Images of {len(sizes)} sizes do not make one tensor. Give the corpus plan a `size`.")
    width, height = sizes.pop()
    images = np.empty((len(rows), 4, height, width), np.uint8)
    for place, row in enumerate(rows):
        images[place] = np.asarray(corpus.image(row)).transpose(2, 0, 1)
    return Drawings(torch.from_numpy(images), rows)


def refuse(corpus: Corpus, policy: Policy) -> None:
    """Raise unless `policy` admits every row of `corpus` and the rows are those it promises.

    Raises:
        RowRefused: names the first row that is not admitted or was revoked, and the reason.
        CorpusChanged: the root is another.
    """
    if gone := revoked.first(corpus, corpus.rows):
        row, mark = gone
        raise RowRefused(
            f"{row.key} ({row.id}) in {corpus.folder} was revoked on {mark.at}: {mark.reason} ({mark.evidence}). "
            f"Write a corpus without what is revoked: `impasto corpus without-revoked {corpus.folder} --output NEW`."
        )
    for row in corpus.rows:
        if refusal := policy.admits(row):
            raise RowRefused(
                f"{row.key} ({row.id}) in {corpus.folder} must not be trained on. {refusal.reason} "
                f"(policy {policy.name!r}, rule {refusal.rule!r})"
            )
    if corpus.root != corpus.manifest.root:
        raise CorpusChanged(
            f"The rows of {corpus.folder} have root {corpus.root}, but it promises {corpus.manifest.root}. "
            "See `impasto corpus verify`, and build it again."
        )


def _known(collections: Collection[str] | None, present: set[str]) -> None:
    for name in collections or ():
        if name not in present:
            raise NotFound.among("collection", name, present)
