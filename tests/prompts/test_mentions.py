"""What a prompt names: adapters, and errors that list what there is."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import ImpastoError, InvalidRecipe, NotFound
from impasto.prompts.grammar import Run, parse, parse_negative
from impasto.prompts.mentions import AdapterCall, Mention, adapter_calls, refuse_in_negative, require_known

KNOWN = {"ink", "wash v2"}


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("<lora:ink>", AdapterCall("ink", 1.0, 1.0)),
        ("<lora:ink:0.8>", AdapterCall("ink", 0.8, 0.8)),
        ("<lora:ink:0.8:0.5>", AdapterCall("ink", 0.8, 0.5)),
        ("<lora:ink:1:0:4>", AdapterCall("ink", 1.0, 0.0, 4)),
        ("<lyco:wash v2:te=0.5:unet=-1:dyn=8>", AdapterCall("wash v2", 0.5, -1.0, 8)),
        ("<lora:ink:te=0.5>", AdapterCall("ink", 0.5, 0.5)),
        ("<lora:ink:0.5:unet=2>", AdapterCall("ink", 0.5, 2.0)),
        ("<lora:ink:0.5:te=0.7>", AdapterCall("ink", 0.7, 0.7)),
    ],
)
def test_calls(text: str, call: AdapterCall) -> None:
    assert adapter_calls(parse(text).mentions, KNOWN) == (call,)


def test_mentions_are_taken_out_of_the_text_in_order() -> None:
    prompt = parse("a <lora:ink:0.5>fox AND <lora:wash v2> an owl")
    assert [clause.at(0, Run(1)) for clause in prompt.clauses] == ["a fox ", "  an owl"]
    assert [call.name for call in adapter_calls(prompt.mentions, KNOWN)] == ["ink", "wash v2"]


def test_what_is_no_mention_is_text() -> None:
    for text in (r"<\lora:ink>", r"<lora\:ink>", "< lora:ink>", "a < b: c > d", "<lora:>", "<lora:ink", "<3"):
        assert parse(text).mentions == ()


def test_unknown_adapters_are_an_error_that_lists_what_there_is() -> None:
    mentions = parse("<lora:inc:0.5> <lora:ink> <lora:wsh> <lora:inc>").mentions
    with pytest.raises(NotFound, match=r"unknown adapters 'inc', 'wsh'\. Choose among: ink, wash v2\.$"):
        adapter_calls(mentions, KNOWN)
    with pytest.raises(NotFound, match=r"unknown adapter 'inc'\. There is none here\.$"):
        adapter_calls(mentions[:1], ())
    require_known("embedding", ["a"], {"a": 1})


@pytest.mark.parametrize(
    ("mention", "message"),
    [
        (
            "<hypernet:ink:1>",
            r"unknown kind. Choose one of: lora, lyco. If it is meant as text, write <\\hypernet:ink:1>",
        ),
        ("<lora:ink:much>", r"<lora:ink:much> in the prompt: te is not a number: 'much'"),
        ("<lora:ink:1:nan>", "unet is not a number: 'nan'"),
        ("<lora:ink:inf>", "te is not a number: 'inf'"),
        ("<lora:ink:1:1:0>", "dyn is not a rank"),
        ("<lora:ink:1:1:2.5>", "dyn is not a rank"),
        ("<lora:ink:1:1:1:1>", "does not say which adapter and how strongly"),
        ("<lora:ink:lbw=1>", "does not say which adapter and how strongly"),
        ("<lora: :1>", "does not say which adapter and how strongly"),
        ("<lora:te=1>", "does not say which adapter and how strongly"),
    ],
)
def test_refuses(mention: str, message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        adapter_calls(parse(mention).mentions, KNOWN)


def test_every_problem_is_told() -> None:
    with pytest.raises(InvalidRecipe, match=r"(?s)'much'.*unknown kind"):
        adapter_calls(parse("<lora:ink:much> <style:x>").mentions, KNOWN)


def test_the_negative_prompt_calls_no_adapter() -> None:
    refuse_in_negative(parse_negative("dark").mentions)
    with pytest.raises(InvalidRecipe, match="calls <lora:ink:1>"):
        refuse_in_negative(parse_negative("dark <lora:ink:1>").mentions)


@given(st.text(st.sampled_from("ink:=.01 te-dynu"), max_size=20))
def test_arguments_are_read_or_refused(arguments: str) -> None:
    with contextlib.suppress(ImpastoError):
        (call,) = adapter_calls([Mention("lora", arguments)], KNOWN)
        assert call.name in KNOWN
