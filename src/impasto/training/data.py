"""The rows of a corpus that a plan asks for, and what the receipt says of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from impasto.corpus import dataset
from impasto.corpus.dataset import Drawings
from impasto.corpus.record import Row
from impasto.corpus.store import Corpus, root_of
from impasto.errors import InvalidPlan
from impasto.receipt import CorpusUse
from impasto.training.plans import Selection


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from and is measured on.

    Attributes:
        corpus: its name.
        train: rows to learn from.
        held_out: rows of the same selection that are never learned from; None when there are none.
        use: for the receipt: roots of the corpus and of the rows learned from.
    """

    corpus: str
    train: Drawings
    held_out: Drawings | None
    use: CorpusUse


def load(corpus: Corpus, select: Selection) -> TrainingData:
    """Load the rows that `select` names from `corpus`, which refuses what its policy does not admit.

    Raises:
        InvalidPlan: the selection leaves no rows, or names concepts that the corpus does not have.
        RowRefused: the corpus holds a row that its policy does not admit.
        CorpusChanged: rows or images are not those that the corpus promises.
    """
    concepts, collections = chosen_concepts(corpus, select), select.collections or None
    picked = selected(corpus, select)
    if not picked:
        raise InvalidPlan(f"`select` leaves no rows of {corpus.folder} to learn from.")
    has_held_out = any(row.split == "held-out" and (concepts is None or row.concept in concepts) for row in corpus.rows)
    manifest = corpus.manifest
    return TrainingData(
        manifest.name,
        dataset.load(corpus, "train", concepts, collections),
        dataset.load(corpus, "held-out", concepts, collections) if has_held_out else None,
        CorpusUse(root=manifest.root, selection=root_of(picked), rows=len(picked), policy=manifest.policy),
    )


def selected(corpus: Corpus, select: Selection) -> list[Row]:
    """Return the rows of `corpus` that `select` names to be learned from.

    Raises:
        InvalidPlan: it names concepts that no row has.
    """
    concepts, collections = chosen_concepts(corpus, select), select.collections or None
    return [
        row
        for row in corpus.rows
        if row.split == "train"
        and (concepts is None or row.concept in concepts)
        and (collections is None or row.source.collection in collections)
    ]


def chosen_concepts(corpus: Corpus, select: Selection) -> frozenset[str] | None:
    """Return the concepts that `select` leaves, or None when it leaves rows without a concept in.

    Raises:
        InvalidPlan: it names concepts that no row has.
    """
    if not select.concepts and not select.minimum_collections:
        return None
    where: dict[str, set[str]] = defaultdict(set)
    for row in corpus.rows:
        if row.concept and (not select.collections or row.source.collection in select.collections):
            where[row.concept].add(row.source.collection)
    if unknown := sorted(set(select.concepts) - where.keys()):
        raise InvalidPlan(f"`select.concepts` has {len(unknown)} that no chosen row has: {', '.join(unknown)}.")
    wanted = select.concepts or where
    return frozenset(concept for concept in wanted if len(where[concept]) >= select.minimum_collections)
