"""Which rows are never trained on: pairs of a concept and a collection, chosen by a keyed hash.

A pair is held out only when the same concept stays in training in enough other collections: the model then knows what a
fox is and how Noto draws, but has never seen Noto's fox.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable

from pydantic import Field

from impasto.corpus.record import Work
from impasto.schema import Frozen

Pair = tuple[str, str]


class HeldOut(Frozen):
    """How pairs are held out.

    Attributes:
        share: of the eligible pairs.
        others: in how many other collections the concept must stay in training.
        seed: key of the hash that chooses.
    """

    share: float = Field(ge=0, lt=1)
    others: int = Field(default=3, ge=1)
    seed: str

    def choose(self, works: Iterable[Work], collections: Collection[str]) -> frozenset[Pair]:
        """Return the pairs (concept, collection) of `works` in `collections` that are held out."""
        found: dict[str, set[str]] = defaultdict(set)
        for work in works:
            if work.concept and work.source.collection in collections:
                found[work.concept].add(work.source.collection)
        return frozenset(pair for concept, sets in found.items() for pair in self._of(concept, sets))

    def _of(self, concept: str, sets: set[str]) -> list[Pair]:
        chosen = [s for s in sets if self._draw(concept, s) < self.share]
        chosen.sort(key=lambda s: self._draw(concept, s))
        return [(concept, s) for s in chosen[: max(0, len(sets) - self.others)]]

    def _draw(self, concept: str, collection: str) -> float:
        """Return a number in [0, 1) that depends on the seed and the pair only."""
        key = "\0".join((self.seed, concept, collection)).encode()
        return int.from_bytes(hashlib.sha256(key).digest()[:6], "big") / 2**48
