"""How much of a schedule is left."""

from __future__ import annotations

import pytest
import torch

from impasto.diffusion.schedules import NoiseSchedule, exponential, karras
from impasto.errors import InvalidInput, InvalidRecipe
from impasto.pipeline.passes import counted, passes
from impasto.recipe import Counting, Recipe


@pytest.mark.parametrize(
    ("strength", "counting", "total", "steps"),
    [
        (0.75, "diffusers", 20, 15),
        (1.0, "diffusers", 20, 20),
        (0.05, "diffusers", 20, 1),
        (0.75, "a1111", 20, 16),
        (1.0, "a1111", 20, 20),
        (0.01, "a1111", 20, 1),
        (0.5, "exact", 40, 20),
        (1.0, "exact", 20, 20),
    ],
)
def test_the_steps_that_are_left(strength: float, counting: Counting, total: int, steps: int) -> None:
    assert counted(20, strength, counting) == (total, steps)


FOX = {
    **{"model_name": "tiny", "model_digest": f"sha256:{'1' * 64}", "prompt": "a fox", "seed": 1, "sampler": "euler"},
    **{"schedule": "karras", "steps": 4, "guidance": 7, "width": 64, "height": 64},
}
LEVELS = NoiseSchedule.scaled_linear()


def test_a_schedule_is_spaced_as_asked_and_the_second_as_far_as_it_can_be() -> None:
    spacing = {"schedule_options": {"rho": 5, "sigma_min": 0.1}}
    second = {"width": 128, "height": 128, "strength": 1}
    first, same = passes(Recipe(**FOX, **spacing, hires=second), LEVELS, LEVELS, 8)
    assert torch.equal(first.sigmas, karras(LEVELS, 4, rho=5, sigma_min=0.1))
    assert torch.equal(same.sigmas, first.sigmas)
    _, other = passes(Recipe(**FOX, **spacing, hires={**second, "schedule": "exponential"}), LEVELS, LEVELS, 8)
    assert torch.equal(other.sigmas, exponential(LEVELS, 4, sigma_min=0.1))
    with pytest.raises(InvalidRecipe, match=r"exponential does not .* rho=5. These have: karras, polyexponential\."):
        passes(Recipe(**{**FOX, "schedule": "exponential"}, **spacing), LEVELS, LEVELS, 8)
    with pytest.raises(InvalidInput, match=r"from 20 to 14\.61"):
        passes(Recipe(**FOX, schedule_options={"sigma_min": 20}), LEVELS, LEVELS, 8)


def test_none_left() -> None:
    with pytest.raises(InvalidRecipe, match="none of 20 steps"):
        counted(20, 0.01, "diffusers")
