"""How much of a schedule is left."""

from __future__ import annotations

import pytest

from impasto.errors import InvalidRecipe
from impasto.pipeline.passes import counted
from impasto.recipe import Counting


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


def test_none_left() -> None:
    with pytest.raises(InvalidRecipe, match="none of 20 steps"):
        counted(20, 0.01, "diffusers")
