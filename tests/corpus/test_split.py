from __future__ import annotations

from collections import Counter

from impasto.corpus.record import Source
from impasto.corpus.split import HeldOut
from tests.corpus.icons import row

SETS = ("a", "b", "c", "d", "e")


def works(concepts: int, sets: tuple[str, ...] = SETS) -> list:
    return [
        row(concept=f"thing-{n}", source=Source(collection=s, version="1", key=f"thing-{n}", file="f"))
        for n in range(concepts)
        for s in sets
    ]


def test_about_the_share_is_held_out_and_always_the_same() -> None:
    rule = HeldOut(share=0.1, others=3, seed="s")
    held = rule.choose(works(1000), SETS)
    assert 400 < len(held) < 600
    assert held == rule.choose(reversed(works(1000)), SETS)
    assert held != HeldOut(share=0.1, others=3, seed="t").choose(works(1000), SETS)


def test_enough_others_stay_in_training() -> None:
    held = Counter(concept for concept, _ in HeldOut(share=0.9, others=3, seed="s").choose(works(200), SETS))
    assert max(held.values()) == 2


def test_rare_concepts_and_other_collections_stay() -> None:
    rule = HeldOut(share=0.9, others=3, seed="s")
    assert not rule.choose(works(100, ("a", "b", "c")), SETS)
    assert not rule.choose(works(100), ("a", "b", "c"))
    assert {s for _, s in rule.choose(works(100), ("a", "b", "c", "d"))} <= {"a", "b", "c", "d"}


def test_a_pair_does_not_depend_on_the_others() -> None:
    rule = HeldOut(share=0.3, others=1, seed="s")
    assert rule.choose(works(5), SETS) <= rule.choose(works(50), SETS)
