"""How much of a schedule is left."""

from __future__ import annotations

import pytest
import torch

from impasto.errors import InvalidRecipe
from impasto.pipeline.passes import remaining


def levels(steps: int) -> torch.Tensor:
    return torch.arange(steps, -1, -1, dtype=torch.float32)


@pytest.mark.parametrize(
    ("strength", "counting", "first", "steps"),
    [
        (0.75, "diffusers", 15, 15),
        (1.0, "diffusers", 20, 20),
        (0.05, "diffusers", 1, 1),
        (0.75, "a1111", 16, 16),
        (1.0, "a1111", 20, 20),
        (0.01, "a1111", 1, 1),
        (0.5, "exact", 20, 20),
        (1.0, "exact", 20, 20),
    ],
)
def test_the_steps_that_are_left(strength: float, counting: str, first: int, steps: int) -> None:
    sigmas = remaining(levels, 20, strength, counting)  # type: ignore[arg-type]
    assert (len(sigmas) - 1, sigmas[0].item()) == (steps, first)


def test_none_left() -> None:
    with pytest.raises(InvalidRecipe, match="none of 20 steps"):
        remaining(levels, 20, 0.01, "diffusers")
