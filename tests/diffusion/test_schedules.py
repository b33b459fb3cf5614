"""Noise levels: what holds of them whoever computes them (parity is in tests/reference)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.diffusion.schedules import SIGMAS, NoiseSchedule
from impasto.errors import InvalidInput

SCHEDULE = NoiseSchedule.scaled_linear()


@pytest.mark.parametrize("name", SIGMAS)
@given(steps=st.integers(1, 1000))
def test_sigmas_fall_strictly_from_the_top_to_zero(name: str, steps: int) -> None:
    sigmas = SIGMAS[name](SCHEDULE, steps)
    assert sigmas.shape == (steps + 1,)
    assert sigmas.dtype == torch.float32
    assert bool((sigmas.diff() < 0).all())
    assert sigmas[-1] == 0
    torch.testing.assert_close(sigmas[0], SCHEDULE.sigmas[-1], rtol=1e-6, atol=0)


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
