"""The prompt language: what text there is at which step."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import InvalidInput
from impasto.prompts.emphasis import Part, escape
from impasto.prompts.emphasis import parse as weigh
from impasto.prompts.grammar import RULES, Alternating, Clause, Run, Scheduled, Stretch, parse, parse_negative
from tests.prompts.texts import PROMPTS

STEPS = st.integers(1, 40)


def stretches(text: str, steps: int = 10, before: int = 0) -> list[tuple[str, int]]:
    (clause,) = parse(text).clauses
    return [(stretch.text, stretch.until) for stretch in clause.stretches(Run(steps, before))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a fox", [("a fox", 10)]),
        ("", [("", 10)]),
        ("a [red:blue:4] fox", [("a red fox", 4), ("a blue fox", 10)]),
        ("a [red:blue:0.25] fox", [("a red fox", 2), ("a blue fox", 10)]),
        ("a [red:blue:.5] fox", [("a red fox", 5), ("a blue fox", 10)]),
        ("a [red: 4 ]fox", [("a fox", 4), ("a redfox", 10)]),
        ("a [red::4]fox", [("a redfox", 4), ("a fox", 10)]),
        ("a [:red:4]fox", [("a fox", 4), ("a redfox", 10)]),
        ("[:4]", [("", 4), ("", 10)]),
        ("[a:b:0]", [("b", 10)]),
        ("[a:b:-3]", [("b", 10)]),
        ("[a:b:0.05]", [("b", 10)]),
        ("[a:b:1]", [("a", 1), ("b", 10)]),
        ("[a:b:1.0]", [("a", 10)]),
        ("[a:b:25]", [("a", 10)]),
        ("[a:[b:c:6]:2]", [("a", 2), ("b", 6), ("c", 10)]),
        ("[[a:b:2]:c:6]", [("a", 2), ("b", 6), ("c", 10)]),
        ("[a:2] [b:6]", [(" ", 2), ("a ", 6), ("a b", 10)]),
        ("[(a:1.2) cat:[b] dog:5]", [("(a:1.2) cat", 5), ("[b] dog", 10)]),
        ("(a [b:c:5]:1.3)", [("(a b:1.3)", 5), ("(a c:1.3)", 10)]),
        ("[[a|b]:5]", [("", k) for k in range(1, 6)] + [("ba"[k % 2], k) for k in range(6, 11)]),
        # What is no construct is text.
        ("a [b", [("a [b", 10)]),
        ("a] [b:c", [("a] [b:c", 10)]),
        ("[a]", [("[a]", 10)]),
        ("[a:b]", [("[a:b]", 10)]),
        ("[a:b:c]", [("[a:b:c]", 10)]),
        ("[a:b:c:5]", [("[a:b:c:5]", 10)]),
        ("[(a:b:5]", [("[(a:b:5]", 10)]),
        ("(]) [a:5]", [("(]) ", 5), ("(]) a", 10)]),
        ("[a:1.2.3]", [("[a:1.2.3]", 10)]),
        ("a | b", [("a | b", 10)]),
        ("[a|b:5]", [("", 5), ("a|b", 10)]),
        ("[a:[5]]", [("[a:[5]]", 10)]),
        (r"\[a:5\]", [(r"\[a:5\]", 10)]),
        (r"[a\:b:5]", [("", 5), (r"a\:b", 10)]),
        (r"[a\]:5]", [("", 5), (r"a\]", 10)]),
        ("a\\", [("a\\", 10)]),
    ],
)
def test_schedules(text: str, expected: list[tuple[str, int]]) -> None:
    assert stretches(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[cow|horse]", ["cow", "horse", "cow", "horse", "cow"]),
        ("[a|b|c]", ["a", "b", "c", "a", "b"]),
        ("[fe|]male", ["female", "male", "female", "male", "female"]),
        ("[|a||]", ["", "a", "", "", ""]),
        ("[a|(b:1.1)]", ["a", "(b:1.1)", "a", "(b:1.1)", "a"]),
        ("[a|[b:c:3]]", ["a", "b", "a", "c", "a"]),
        ("[[a|b]|c]", ["a", "c", "a", "c", "a"]),
    ],
)
def test_alternation_changes_each_step(text: str, expected: list[str]) -> None:
    assert stretches(text, 5) == [(word, step) for step, word in enumerate(expected, 1)]


def test_second_pass_counts_on() -> None:
    assert stretches("[a:b:15]", 10, before=10) == [("a", 5), ("b", 10)]
    assert stretches("[a:b:5]", 10, before=10) == [("b", 10)]
    assert stretches("[a:b:0.5]", 10, before=10) == [("b", 10)]
    assert stretches("[a:b:1.5]", 10, before=10) == [("a", 5), ("b", 10)]
    assert stretches("[a:b:1.5]", 10) == [("a", 10)]


def test_reads_into_plain_data() -> None:
    assert parse("a [b:c:0.5] AND [d|e] :2").clauses == (
        Clause(("a ", Scheduled(("b",), ("c",), "0.5"), " ")),
        Clause((" ", Alternating((("d",), ("e",)))), 2.0),
    )
    assert Clause(("a",)).stretches(Run(3)) == (Stretch("a", 3),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("a cat AND a dog", [("a cat ", 1.0), (" a dog", 1.0)]),
        ("a cat :1.2 AND a dog AND a fox:-.5 ", [("a cat", 1.2), (" a dog ", 1.0), (" a fox", -0.5)]),
        ("a : 2. AND b", [("a", 2.0), (" b", 1.0)]),
        ("SAND ANDY", [("SAND ANDY", 1.0)]),
        ("AND", [("", 1.0), ("", 1.0)]),
        (r"a AN\D b", [(r"a AN\D b", 1.0)]),
        ("a:1.2.3 AND b", [("a:1.2.3 ", 1.0), (" b", 1.0)]),
        ("a clock at 12:30", [("a clock at 12:30", 1.0)]),
    ],
)
def test_clauses(text: str, expected: list[tuple[str, float]]) -> None:
    assert [(clause.at(0, Run(1)), clause.weight) for clause in parse(text).clauses] == expected


def test_weight_of_a_lone_prompt_is_a_matter_of_rules() -> None:
    assert parse("a fox :1.5", RULES["a1111"]).clauses == (Clause(("a fox",), 1.5),)


def test_negative_prompt_is_one_clause() -> None:
    assert parse_negative("dark AND [blurry:5] :2").clauses == (
        Clause(("dark AND ", Scheduled((), ("blurry",), "5"), " :2")),
    )


def test_a_run_has_steps() -> None:
    with pytest.raises(InvalidInput, match="0 steps after 0 are not possible"):
        Run(0)


@given(PROMPTS, STEPS)
def test_every_text_has_a_reading_that_covers_every_step(text: str, steps: int) -> None:
    prompt = parse(text)
    assert prompt.clauses
    for clause in (*prompt.clauses, *parse_negative(text).clauses):
        ends = [stretch.until for stretch in clause.stretches(Run(steps))]
        assert ends == sorted(set(ends))
        assert (ends[0] >= 1, ends[-1]) == (True, steps)


@given(PROMPTS, STEPS)
def test_a_stretch_has_the_text_of_each_of_its_steps(text: str, steps: int) -> None:
    for clause in parse(text).clauses:
        first = 0
        for stretch in clause.stretches(Run(steps)):
            assert {clause.at(step, Run(steps)) for step in range(first, stretch.until)} == {stretch.text}
            first = stretch.until


@given(st.text(st.characters(exclude_characters="\\()[]:|<"), max_size=60).filter(lambda t: "AND" not in t))
def test_text_without_special_characters_is_unchanged(text: str) -> None:
    assert parse(text).clauses == (Clause((text,) if text else ()),)


@given(st.text(), st.text(), st.integers(1, 9))
def test_escaped_text_is_itself_anywhere(first: str, second: str, when: int) -> None:
    prompt = f"[{escape(first)}:{escape(second)}:{when}][{escape(second)}|{escape(first)}]"
    (clause,) = parse(prompt).clauses
    before, after = escape(first), escape(second)
    run = Run(10)
    assert [clause.at(step, run) for step in range(10)] == [
        (before if step < when else after) + (before if step % 2 else after) for step in range(10)
    ]
    ((part,),) = weigh(f"({escape(first)}x:1.5)")
    assert part == Part(first + "x", 1.5)


@given(st.text(min_size=1))
def test_escaped_text_is_one_plain_clause(text: str) -> None:
    prompt = parse(escape(text), RULES["a1111"])
    (clause,) = prompt.clauses
    assert prompt.mentions == ()
    assert weigh(clause.at(0, Run(1))) == ((Part(text),),)


@pytest.mark.parametrize(
    "text",
    ["[" * 20_000, "(" * 10_000 + ")" * 10_000, "[a|" * 5000 + "]" * 5000, "[:" * 5000 + ":3]" * 5000, " " * 20_000],
    ids=["open", "round", "alternating", "scheduled", "spaces"],
)
def test_depth_is_no_matter(text: str) -> None:
    (clause,) = parse(text).clauses
    assert clause.stretches(Run(3))[-1].until == 3


def test_needs_no_torch() -> None:
    code = "import sys, impasto.prompts.chunks, impasto.prompts.grammar; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
