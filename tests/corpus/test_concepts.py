from __future__ import annotations

from impasto.corpus.concepts import Names, join


def test_a_name_that_most_use_wins() -> None:
    concepts = join([Names(("bear-face",), {"bear": "bear-face"}), Names(("bear",)), Names(("bear",))])
    assert concepts["bear-face"] == concepts["bear"] == "bear"


def test_of_equals_the_first_collection_names() -> None:
    concepts = join([Names(("red-apple",)), Names(("redapple",))])
    assert concepts == {"red-apple": "red-apple", "redapple": "red-apple"}


def test_unicode_joins_names() -> None:
    concepts = join([Names(("moai",), {}, {"1f5ff": "moai"}), Names(("moyai",), {}, {"1f5ff": "moyai"})])
    assert concepts["moyai"] == "moai"


def test_two_drawings_of_a_set_are_never_one_thing() -> None:
    both = Names(("cricket", "cricket-game"))
    concepts = join([both, Names(("cricket-game",), {"cricket": "cricket-game"})])
    assert (concepts["cricket"], concepts["cricket-game"]) == ("cricket", "cricket-game")
    spelled = join([Names(("black-bird", "blackbird"))])
    assert spelled["blackbird"] == "blackbird"
