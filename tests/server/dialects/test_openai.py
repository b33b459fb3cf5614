from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import ImpastoError
from impasto.server.dialects import openai
from impasto.server.dialects.openai import QUALITIES, Counted, EditSaid, Said, VariationSaid, parsed
from impasto.server.requests import GenerateRequest, RequestRefused

STEPS = 20
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [*EditSaid.model_fields, *openai.OWN, *openai.OF_EDITS, "unknown"]


def request(**fields: Any) -> dict[str, Any]:
    return openai.choices(parsed(Said, {"prompt": "a fox", **fields}), STEPS)


def test_what_is_left_out_is_the_models_own() -> None:
    assert request() == {"prompt": "a fox", "count": 1}
    assert request(n=None, size="auto", quality="auto", model=None, user=None) == request()


def test_what_the_api_has_and_what_is_ours() -> None:
    asked = request(model="glyph", n=3, size="64x128", seed=1, negative_prompt="fog", hires={"scale": 2})
    assert asked == {
        **{"prompt": "a fox", "model": "glyph", "count": 3, "width": 64, "height": 128, "seed": 1},
        **{"negative_prompt": "fog", "hires": {"scale": 2}},
    }


def test_quality_multiplies_the_models_steps_and_steps_win() -> None:
    steps = {quality: request(quality=quality).get("steps", STEPS) for quality in QUALITIES}
    assert steps == {
        **{"auto": 20, "low": 10, "medium": 20, "standard": 20, "high": 40, "hd": 40, "xhigh": 60, "max": 80},
    }
    assert request(quality="low", steps=7)["steps"] == 7
    assert openai.choices(parsed(Said, {"prompt": "", "quality": "low"}), 1)["steps"] == 1


def test_edits_and_variations_give_up_more_or_less() -> None:
    edit, faithful = (parsed(EditSaid, {"prompt": "", **more}) for more in ({}, {"input_fidelity": "high"}))
    assert openai.start(edit, masked=False) == {"start": {"strength": 0.75}}
    assert openai.start(faithful, masked=False) == {"start": {"strength": 0.5}}
    assert openai.start(edit, masked=True) == {"start": {"strength": 1.0}, "mask": {}}
    assert openai.start(parsed(VariationSaid, {}), masked=False) == {"start": {"strength": 0.6}}
    exact = parsed(EditSaid, {"prompt": "", "strength": 0.3, "mask_blur": 2, "mask_area": "masked"})
    assert openai.start(exact, masked=True) == {"start": {"strength": 0.3}, "mask": {"blur": 2, "area": "masked"}}


def test_an_edits_size_is_the_pictures_unless_it_is_said() -> None:
    assert openai.edited_size(parsed(EditSaid, {"prompt": "", "size": "auto"}), (1000, 500), 64) == (88, 48)
    assert openai.edited_size(parsed(EditSaid, {"prompt": "", "size": "32x32"}), (1000, 500), 64) is None


def test_what_has_no_effect_is_named() -> None:
    assert parsed(Said, {"prompt": "", "style": "vivid", "user": "me", "n": 1}).ignored == ["style", "user"]


def test_forms_are_put_together_again() -> None:
    fields = {"prompt": "[fox|wolf]", "hires[scale]": "2", "hires[steps]": "3", "variation": '{"seed": 1}', "n": "2"}
    whole = openai.unflattened(fields)
    assert whole["hires"] == {"scale": "2", "steps": "3"}
    assert whole["variation"] == {"seed": 1}
    assert whole["prompt"] == "[fox|wolf]"
    asked = openai.choices(parsed(EditSaid, whole), STEPS)
    made = GenerateRequest.parse(asked, "The request")
    assert made.hires
    assert (made.hires.scale, made.hires.steps, made.count) == (2, 3, 2)


def test_usage_adds_up() -> None:
    usage = Counted(text=3, image=4, output=5).usage()
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (7, 5, 12)


def test_errors_have_openais_shape() -> None:
    body = openai.error_body(404, "no", "model", "model_not_found")
    assert body == {"error": {"message": "no", "type": "not_found_error", "param": "model", "code": "model_not_found"}}
    assert openai.error_body(429, "")["error"]["type"] == "rate_limit_error"
    assert openai.error_body(500, "")["error"]["type"] == "server_error"


@given(st.sampled_from([Said, EditSaid, VariationSaid]), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6))
def test_whatever_is_said_is_understood_or_refused_by_name(kind: type[Said], fields: dict[str, Any]) -> None:
    refusal = refused(lambda: openai.start(parsed(kind, fields), masked=True))
    refusal = refusal or refused(lambda: openai.choices(parsed(kind, fields), STEPS))
    if refusal:
        assert isinstance(refusal, RequestRefused)
        assert refusal.field
    else:
        asked = openai.choices(parsed(kind, fields), STEPS)
        refused(lambda: GenerateRequest.parse(asked, "The request"))


def refused(say: Callable[[], Any]) -> ImpastoError | None:
    """Return how what `say` says is refused; None when it is not. Nothing else may be raised."""
    try:
        say()
    except ImpastoError as refusal:
        return refusal
    return None


@pytest.mark.parametrize("size", ["64", "64x", "x64", "64X64", "0x0x0", "-1x5", "999999x1"])
def test_sizes_that_are_none(size: str) -> None:
    with pytest.raises(RequestRefused, match="is not a size") as refusal:
        request(size=size)
    assert refusal.value.field == "size"
