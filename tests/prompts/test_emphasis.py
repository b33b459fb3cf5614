"""Weights of words, and BREAK."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.prompts.emphasis import LESS, Part, escape, literal, parse
from tests.prompts.texts import PROMPTS

UP = 1.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text", [("plain text", 1)]),
        ("", []),
        ("()", []),
        ("a (red) fox", [("a ", 1), ("red", UP), (" fox", 1)]),
        ("a (red:1.3) fox", [("a ", 1), ("red", 1.3), (" fox", 1)]),
        ("a [red] fox", [("a ", 1), ("red", LESS), (" fox", 1)]),
        ("((red))", [("red", UP * UP)]),
        ("[[red]]", [("red", LESS * LESS)]),
        ("(a (b:1.5):2)", [("a ", 2), ("b", 3)]),
        ("(a [b] c)", [("a ", UP), ("b", LESS * UP), (" c", UP)]),
        ("(a)(b) (c)", [("ab", UP), (" ", 1), ("c", UP)]),
        ("(x: 1.3 )", [("x", 1.3)]),
        ("(x:-.5)", [("x", -0.5)]),
        ("(x:+2.)", [("x", 2)]),
        ("(x:0)", [("x", 0)]),
        # Not closed: to the end. Not opened: text. Round and square do not see each other.
        ("a (b c", [("a ", 1), ("b c", UP)]),
        ("a [b (c", [("a ", 1), ("b ", LESS), ("c", UP * LESS)]),
        ("a) b] c:1.5)", [("a) b] c:1.5)", 1)]),
        ("(a [b) c]", [("a ", UP), ("b", UP * LESS), (" c", LESS)]),
        ("[a:1.5]", [("a:1.5", LESS)]),
        ("[a:1.5)", [("a:1.5)", LESS)]),
        # What is no number is text.
        ("(a:b)", [("a:b", UP)]),
        ("(a:1.2.3)", [("a:1.2.3", UP)]),
        ("(a:1e3)", [("a:1e3", UP)]),
        ("(a:)", [("a:", UP)]),
        (f"(a:{'9' * 400})", [(f"a:{'9' * 400}", UP)]),
        # Escapes.
        (r"\(a\) \[b\] \\", [(r"(a) [b] " + "\\", 1)]),
        (r"(fox \(red\):1.2)", [("fox (red)", 1.2)]),
        (r"(a\)", [("a)", UP)]),
        (r"a\b\:c" + "\\", [("ab:c", 1)]),
        (r"BREA\K", [("BREAK", 1)]),
    ],
)
def test_weights(text: str, expected: list[tuple[str, float]]) -> None:
    assert parse(text) == (tuple(Part(*part) for part in expected),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a BREAK b", [["a"], ["b"]]),
        ("a, BREAK\nb", [["a,"], ["b"]]),
        ("BREAK", [[], []]),
        ("a BREAK BREAK b", [["a"], [], ["b"]]),
        ("aBREAK break BREAKS", [["aBREAK break BREAKS"]]),
        ("a BREAK", [["a"], []]),
        ("(a BREAK b) c", [["a"], ["b", " c"]]),
    ],
)
def test_break(text: str, expected: list[list[str]]) -> None:
    assert [[part.text for part in segment] for segment in parse(text)] == expected


def test_brackets_reach_over_a_break() -> None:
    assert parse("(a BREAK b:2) c") == ((Part("a", 2.0),), (Part("b", 2.0), Part(" c", 1.0)))


@given(PROMPTS)
def test_every_text_has_a_reading(text: str) -> None:
    for segment in parse(text):
        assert all(part.text and math.isfinite(part.weight) for part in segment)
        assert all(one.weight != other.weight for one, other in itertools.pairwise(segment))


@given(st.text(st.characters(exclude_characters="\\()[]:")).filter(lambda text: "BREAK" not in text))
def test_text_without_special_characters_counts_as_usual(text: str) -> None:
    assert parse(text) == literal(text)


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=8), st.decimals(-9, 9, places=3).filter(lambda w: w != 1)), max_size=6
    )
)
def test_weights_come_back(parts: list[tuple[str, object]]) -> None:
    """Each part is set off from its neighbour by a comma of weight 1."""
    text = ",".join(f"({escape(text)}:{weight})" for text, weight in parts)
    expected = [Part(text, float(str(weight))) for text, weight in parts]
    assert parse(text) == (tuple(part for pair in expected for part in (Part(","), pair))[1:],)


@given(st.text(min_size=1, max_size=8), st.lists(st.decimals("0.1", 3, places=2), min_size=1, max_size=5))
def test_nested_weights_multiply(text: str, weights: list[object]) -> None:
    ((part,),) = parse("(" * len(weights) + escape(text) + "".join(f":{weight})" for weight in weights))
    assert part.text == text
    assert part.weight == pytest.approx(math.prod(float(str(weight)) for weight in weights))


def test_weights_beyond_all_numbers_are_read_too() -> None:
    assert parse("(" * 40 + "a" + ":999999999)" * 40 + "b") == ((Part("a", math.inf), Part("b")),)


def test_literal_text_means_nothing() -> None:
    assert literal("(a:1.3) BREAK") == ((Part("(a:1.3) BREAK"),),)
    assert literal("") == ((),)
