"""Names of samplers and schedules, as the fields of a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from impasto.errors import InvalidRecipe, NotFound
from impasto.pipeline import Model
from impasto.pipeline.solvers import understood
from impasto.weights.checkpoint import About, Settings
from tests.weights import tiny

SETTINGS = Settings(steps=4, guidance=3.0, sampler="euler", schedule="exponential")


@pytest.mark.parametrize(
    ("choices", "tool", "fields"),
    [
        ({}, None, {}),
        ({"sampler": "heun"}, None, {"sampler": "heun"}),
        ({"sampler": "Heun"}, None, {"sampler": "heun"}),
        ({"schedule": "Karras"}, None, {"schedule": "karras"}),
        ({"sampler": "heun", "schedule": "SGM Uniform"}, None, {"sampler": "heun", "schedule": "sgm_uniform"}),
        ({"sampler": "DPM++ 2M Karras"}, None, {"sampler": "dpmpp_2m", "schedule": "karras"}),
        ({"sampler": "DPM++ 2M", "schedule": "Automatic"}, None, {"sampler": "dpmpp_2m", "schedule": "karras"}),
        (
            {"sampler": "DPM++ 2M SDE Heun"},
            None,
            {"sampler": "dpmpp_2m_sde", "schedule": "exponential", "sampler_options": {"solver": "heun"}},
        ),
        (
            {"sampler": "DPM++ 2M SDE Heun", "sampler_options": {"eta": 0.5}},
            None,
            {"sampler": "dpmpp_2m_sde", "schedule": "exponential", "sampler_options": {"solver": "heun", "eta": 0.5}},
        ),
        ({"sampler": "DPM2"}, "a1111", {"sampler": "dpm_2", "schedule": "karras", "discard_penultimate": True}),
        ({"sampler": "DDIM"}, "a1111", {"sampler": "ddim", "schedule": "compvis"}),
        ({"sampler": "euler"}, "comfyui", {"sampler": "euler", "schedule": "normal", "first_noise": "unit"}),
        (
            {"hires": {"width": 64, "height": 64, "sampler": "DPM2", "steps": None}, "sampler": "DPM++ 2M"},
            "a1111",
            {
                "sampler": "dpmpp_2m",
                "schedule": "karras",
                "hires": {
                    **{"width": 64, "height": 64, "sampler": "dpm_2", "schedule": "karras"},
                    "discard_penultimate": True,
                },
            },
        ),
    ],
)
def test_names_are_understood(choices: dict[str, Any], tool: str | None, fields: dict[str, Any]) -> None:
    assert understood(choices, SETTINGS, tool) == fields


def test_a_recipe_of_another_programs_names_is_a_recipe() -> None:
    model = Model(tiny.networks(), About(name="tiny", settings=SETTINGS))
    recipe = model.recipe("a fox", sampler="UniPC", tool="a1111")
    assert (recipe.sampler, recipe.schedule, recipe.first_noise) == ("unipc", "sgm_uniform_lowest", "unit")
    with pytest.raises(NotFound, match="Did you mean 'DPM\\+\\+ 2M'"):
        model.recipe("a fox", sampler="DPM++ 2N")
    with pytest.raises(InvalidRecipe, match="sampler"):
        model.recipe("a fox", sampler=3)


def test_an_option_that_a_sampler_does_not_have_is_refused() -> None:
    model = Model(tiny.networks(), About(name="tiny", settings=SETTINGS))
    recipe = model.recipe("a fox", sampler="dpmpp_2m_sde", sampler_options={"order": 2, "eta": 1})
    with pytest.raises(InvalidRecipe, match=r"dpmpp_2m_sde does not have the options order=2\. It knows: eta, s_noise"):
        model.steps(recipe)
