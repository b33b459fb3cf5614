from __future__ import annotations

from typing import Any

import pytest

from impasto.errors import InvalidPlan, NotFound
from impasto.models.specs import SPECS
from impasto.training.presets import PRESETS, preset
from impasto.training.teaching import InversionPlan, LoraPlan

SAID: dict[str, Any] = {"name": "fox", "wording": {"subject": "zwx fox"}}


@pytest.mark.parametrize("method", PRESETS)
@pytest.mark.parametrize("model", ["glyph", "sd-1.4"])
def test_the_same_words_do_for_every_model(method: str, model: str) -> None:
    spec = SPECS[model]
    plan = preset(method, spec, SAID)
    assert plan.kind == method
    assert plan.stages[0].size == spec.resolution
    assert plan.optimiser.decay == "constant"
    assert plan.optimiser.warmup == 0


def test_narrow_networks_take_larger_steps() -> None:
    wide, narrow = (preset("lora", SPECS[name], SAID).optimiser.learning_rate for name in ("sd-1.4", "glyph"))
    assert wide == 1e-4
    assert narrow == pytest.approx(1e-4 * 1280 / 288, rel=0.05)


def test_what_is_said_stands_above_the_preset_and_above_a_plan() -> None:
    said = {**SAID, "steps": 7, "adapter": {"rank": 3}}
    plan = preset("lora", SPECS["glyph"], said)
    assert isinstance(plan, LoraPlan)
    assert (plan.steps, plan.adapter.rank) == (7, 3)
    assert plan.adapter.modules == ("attention", "feed_forward", "projections"), "the preset's own"
    file = {"stages": [{"size": 64, "batch": 2, "steps": 9}], "adapter": {"rank": 5, "alpha": 1.0}}
    plan = preset("lora", SPECS["glyph"], said, file)
    assert isinstance(plan, LoraPlan)
    assert (plan.steps, plan.stages[0].batch, plan.adapter.rank, plan.adapter.alpha) == (7, 2, 3, 1.0)


def test_a_new_word_begins_as_what_it_is_one_of() -> None:
    plan = preset("textual-inversion", SPECS["glyph"], SAID)
    assert isinstance(plan, InversionPlan)
    assert (plan.word, plan.begin) == ("zwx", "fox")
    with pytest.raises(InvalidPlan, match="must say the word"):
        preset("textual-inversion", SPECS["glyph"], {**SAID, "word": "other"})


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(NotFound, match="lora"):
        preset("loha", SPECS["glyph"], SAID)
    with pytest.raises(InvalidPlan, match="--subject"):
        preset("lora", SPECS["glyph"], {"name": "fox"})
    with pytest.raises(InvalidPlan, match="is for 'dreambooth'"):
        preset("lora", SPECS["glyph"], SAID, {"kind": "dreambooth"})
