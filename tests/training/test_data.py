from __future__ import annotations

from pathlib import Path

import pytest

from impasto.corpus.store import Corpus
from impasto.errors import InvalidPlan
from impasto.training import data
from impasto.training.plans import Selection


def test_a_selection_has_its_own_root_and_keeps_held_out_rows_apart(corpus: Path) -> None:
    opened = Corpus.open(corpus)
    everything = data.load(opened, Selection())
    some = data.load(opened, Selection(collections=("aa", "bb")))
    assert everything.use.root == some.use.root == opened.root
    assert everything.use.selection != some.use.selection
    assert {row.source.collection for row in some.train.rows} == {"aa", "bb"}
    assert some.use.rows == len(some.train.rows) == len(some.train.images)
    assert everything.held_out is not None
    assert {row.split for row in everything.held_out.rows} == {"held-out"}
    assert {row.split for row in everything.train.rows} == {"train"}


def test_concepts_are_counted_in_the_chosen_collections(corpus: Path) -> None:
    opened = Corpus.open(corpus)
    chosen = data.chosen_concepts(opened, Selection(concepts=("fox", "owl"), minimum_collections=3))
    assert chosen == {"fox", "owl"}
    two = Selection(concepts=("fox",), collections=("aa", "bb"), minimum_collections=3)
    assert data.chosen_concepts(opened, two) == frozenset()
    with pytest.raises(InvalidPlan, match="leaves no rows"):
        data.load(opened, two)
    with pytest.raises(InvalidPlan, match="unicorn"):
        data.load(opened, Selection(concepts=("unicorn",)))
