from __future__ import annotations

import pytest

from impasto.errors import InvalidPlan
from impasto.training.draws import generator
from impasto.training.teaching import Wording
from impasto.training.wording import drawn, everything, said


def test_what_is_learned_is_named_once() -> None:
    subject = Wording(subject="zwx fox")
    assert said(subject, "") == "zwx fox"
    assert said(subject, "in the snow") == "zwx fox, in the snow"
    assert said(subject, "a zwx fox in the snow") == "a zwx fox in the snow"
    style = Wording(style="openmoji")
    assert said(style, "owl") == "owl, openmoji style"
    assert said(style, "owl, openmoji style") == "owl, openmoji style"
    assert said(Wording(style="ink style"), "owl") == "owl, ink style"


def test_shuffling_keeps_the_first_parts_and_loses_none() -> None:
    wording = Wording(subject="zwx", shuffle=True, keep=1)
    found = {drawn(wording, "a, b, c, d", generator(0, "words", number)) for number in range(40)}
    assert len(found) > 5
    assert all(text.startswith("zwx, ") and sorted(text.split(", ")) == ["a", "b", "c", "d", "zwx"] for text in found)
    assert everything(wording, ["a, b"]) is None


def test_dropout_leaves_its_share_without_words() -> None:
    wording = Wording(subject="zwx", dropout=0.3, templates=("{words}", "a picture of {words}"))
    found = [drawn(wording, "", generator(0, "words", number)) for number in range(300)]
    assert 60 < found.count("") < 120
    assert set(found) == set(everything(wording, [""]) or ())


def test_a_template_without_its_slot_is_refused() -> None:
    with pytest.raises(InvalidPlan, match="slot"):
        Wording.parse({"templates": ["a picture"]}, "the plan", InvalidPlan)
