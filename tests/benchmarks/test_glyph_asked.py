from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import asked
from benchmarks.measures import SYNONYMS
from impasto.corpus.concepts import read_concepts
from impasto.corpus.record import Caption, Row, Source
from impasto.errors import InvalidInput
from tests.corpus.icons import row

EVERYDAY = Path(__file__).parents[2] / "recipes" / "glyph" / "concepts.txt"
WORDS = {"fox": "fox", "owl": "owl", "red-apple": "red apple", "house": "house"}


def drawn(concept: str, collection: str, split: str = "train") -> Row:
    source = Source(collection=collection, version="p@1", key=concept, file="f")
    return row(concept=concept, source=source, caption=Caption(text=concept.replace("-", " "), source="x"), split=split)


def test_concepts_with_a_held_out_pair_come_first_then_the_most_drawn() -> None:
    rows = [
        drawn("fox", "aa"),
        drawn("owl", "aa"),
        drawn("owl", "bb"),
        drawn("elk", "aa"),
        drawn("elk", "bb", "held-out"),
    ]
    assert asked.judged(rows, ["fox", "owl", "elk", "yak"], ["aa", "bb"]) == ["elk", "owl", "fox"]
    assert asked.judged(rows, ["fox", "owl", "elk"], ["aa", "bb"], 1) == ["elk"]


def test_pairs_are_asked_for_in_the_words_of_the_captions() -> None:
    pairs = asked.captions([drawn("red-apple", "aa"), drawn("fox", "zz")], ["red-apple", "fox"], ["aa"])
    (question,) = asked.in_style(pairs, {"aa": "angular"}, None, 5)
    assert question.prompt == "red apple, angular style"
    assert (question.seed, question.concepts, question.collection) == (5, ("red-apple",), "aa")


def test_every_colour_is_asked_for_equally_often_and_seeds_differ() -> None:
    questions = asked.on_colours(WORDS, 3, 7)
    assert len(questions) == 30
    assert len({question.seed for question in questions}) == 30
    assert questions[0].prompt.endswith(" on a red background")


def test_choices_hang_on_the_seed_alone() -> None:
    assert asked.on_colours(WORDS, 2, 7) == asked.on_colours(dict(reversed(WORDS.items())), 2, 7)
    assert asked.on_colours(WORDS, 2, 7) != asked.on_colours(WORDS, 2, 8)


def test_only_colours_that_were_never_seen_are_asked_for() -> None:
    seen = {"fox": dict.fromkeys(asked.CHROMATIC, 0.5) | {"blue": 0.01}, "red-apple": {}}
    (question,) = asked.recoloured(WORDS, seen, 9, 0)  # a red apple is not to be made blue
    assert (question.prompt, question.colour) == ("blue fox", "blue")
    assert asked.plainly([question], WORDS)[0].prompt == "fox"
    assert asked.plainly([question], WORDS)[0].seed == question.seed


def test_twos_and_stacks_are_of_known_things() -> None:
    assert {question.prompt for question in asked.two(WORDS, 9, 0)} == {
        "two foxes",
        "two owls",
        "two red apples",
        "two houses",
    }
    assert {q.prompt for q in asked.stacked(WORDS, 9, 0)} == {"owl on a house", "red apple on a house"}
    known = read_concepts(EVERYDAY)
    assert {*asked.PLURALS, *asked.TOPS, *asked.BASES} <= set(known)


def test_a_hundred_everyday_words_that_no_concept_has() -> None:
    known = read_concepts(EVERYDAY)
    questions = asked.synonyms(SYNONYMS, known, 0)
    assert len({question.prompt for question in questions}) == 100
    rows = [drawn(concept, "aa") for concept in known]
    assert asked.taught(questions, rows) == []
    lines = [line.partition("#")[0] for line in SYNONYMS.read_text().splitlines()]
    meanings = [name.strip() for line in lines if ":" in line for name in line.partition(":")[2].split(",")]
    assert set(meanings) <= set(known)


def test_words_that_captions_have_are_found(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("apple: red-apple\nvixen: fox, wolf  # both\nyak: yak\n")
    questions = asked.synonyms(tmp_path / "words", WORDS, 3)
    assert [question.concepts for question in questions] == [("red-apple",), ("fox",)]
    assert asked.taught(questions, [drawn("red-apple", "aa")]) == ["apple"]


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("# words\nvixen\n")
    with pytest.raises(InvalidInput, match="line 2"):
        asked.synonyms(tmp_path / "words", WORDS, 0)
