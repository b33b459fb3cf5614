"""Noise levels: what holds of them whoever computes them (parity is in tests/reference)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.diffusion.schedules import SIGMAS, NoiseSchedule
from impasto.errors import InvalidInput

SCHEDULE = NoiseSchedule.scaled_linear()
TO_LOWEST = {"compvis", *(name for name in SIGMAS if name.endswith("_lowest"))}
FROM_BELOW = {"ddim_uniform", "compvis", "leading", "leading_multistep", "leading_lowest"}
"""What begins below the network's highest level."""
ROUNDED = {"beta": 100, "linspace": 999, "linspace_multistep": 500, "leading": 999, "leading_multistep": 998}
"""What drops a step where two levels are the same, and the number of steps from which that may happen."""
ROUNDED |= {"leading_lowest": 999, "trailing_lowest": 500}
MOST = {"lcm": 50}


@pytest.mark.parametrize("name", SIGMAS)
@given(steps=st.integers(1, 1000))
def test_sigmas_fall_strictly_from_the_top_to_zero(name: str, steps: int) -> None:
    sigmas = SIGMAS[name](SCHEDULE, min(steps, MOST.get(name, steps)))
    assert sigmas.dtype == torch.float32
    assert bool((sigmas.diff() < 0).all())
    assert sigmas[-1].item() == pytest.approx(SCHEDULE.sigmas[0].item() if name in TO_LOWEST else 0, rel=1e-5)
    if name not in FROM_BELOW:
        torch.testing.assert_close(sigmas[0], SCHEDULE.sigmas[-1], rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", SIGMAS)
@given(steps=st.integers(1, 1000))
def test_there_are_as_many_steps_as_asked_for(name: str, steps: int) -> None:
    steps = min(steps, MOST.get(name, steps))
    found = len(SIGMAS[name](SCHEDULE, steps)) - 1
    if name not in ("ddim_uniform", "compvis"):
        assert found == steps or (name in ROUNDED and found < steps and steps > ROUNDED[name])
    elif 1000 % steps == 0 and steps < 1000:
        assert found == steps
    else:
        assert found == pytest.approx(1000 // (1000 // steps), abs=1)


@pytest.mark.parametrize("name", ["simple", "ddim_uniform", "trailing", "beta"])
def test_more_steps_than_levels_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="1000 noise levels to take 1001 from"):
        SIGMAS[name](SCHEDULE, 1001)


def test_more_steps_than_were_distilled_are_refused() -> None:
    with pytest.raises(InvalidInput, match="knows 50 steps, not 51"):
        SIGMAS["lcm"](SCHEDULE, 51)


def test_zero_snr_keeps_the_first_level_and_drowns_the_last() -> None:
    zero = SCHEDULE.to_zero_snr()
    assert zero.alphas_cumprod[0] == SCHEDULE.alphas_cumprod[0]
    assert zero.sigmas[-1] == pytest.approx(4096, rel=1e-6)
    assert bool((zero.alphas_cumprod[1:] < SCHEDULE.alphas_cumprod[1:]).all())
    for name in SIGMAS:
        assert bool((SIGMAS[name](zero, 20).diff() < 0).all())


@pytest.mark.parametrize("name", SIGMAS)
@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_are_refused(name: str, steps: int) -> None:
    with pytest.raises(InvalidInput, match=f"at least 1 step, not {steps}"):
        SIGMAS[name](SCHEDULE, steps)


@given(t=st.floats(0, 999, width=32))
def test_timestep_undoes_sigma(t: float) -> None:
    assert SCHEDULE.timestep(SCHEDULE.sigma(torch.tensor([t]))).item() == pytest.approx(t, abs=1e-3)


def test_timestep_is_exact_on_the_levels_and_holds_beyond_them() -> None:
    assert torch.equal(SCHEDULE.timestep(SCHEDULE.sigmas), torch.arange(1000.0))
    assert SCHEDULE.timestep(torch.tensor([0.0, 0.001, 100.0])).tolist() == [0, 0, 999]


def test_snr_is_one_over_sigma_squared() -> None:
    t = torch.arange(1000)
    torch.testing.assert_close(SCHEDULE.snr(t), SCHEDULE.sigmas**-2, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "alphas_cumprod",
    [
        torch.tensor([0.9]),
        torch.tensor([[0.9, 0.5]]),
        torch.tensor([0.9, 0.5], dtype=torch.float64),
        torch.tensor([0.5, 0.9]),
        torch.tensor([0.9, 0.9]),
        torch.tensor([1.0, 0.5]),
        torch.tensor([0.9, 0.0]),
        torch.tensor([0.9, torch.nan, 0.1]),
    ],
)
def test_what_is_no_schedule_is_refused(alphas_cumprod: torch.Tensor) -> None:
    with pytest.raises(InvalidInput, match="noise schedule"):
        NoiseSchedule(alphas_cumprod)
