"""Loss weightings against their paper's formulas."""

from __future__ import annotations

import pytest
import torch

from impasto.diffusion.denoisers import EpsDenoiser, VDenoiser
from impasto.diffusion.schedules import NoiseSchedule
from impasto.diffusion.weightings import WEIGHTINGS, min_snr

SCHEDULE = NoiseSchedule.scaled_linear()
EPS, V = (kind(lambda x, _t, _context: x, SCHEDULE) for kind in (EpsDenoiser, VDenoiser))
T = torch.arange(1000)


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("denoiser", [EPS, V], ids=["eps", "v"])
def test_weights_are_positive_and_at_most_one(name: str, denoiser: EpsDenoiser | VDenoiser) -> None:
    weights = WEIGHTINGS[name](denoiser, T)
    assert weights.shape == T.shape
    assert weights.dtype == torch.float32
    assert bool(((weights > 0) & (weights <= 1)).all())


@pytest.mark.parametrize("gamma", [1.0, 5.0, 20.0])
def test_min_snr(gamma: float) -> None:
    snr = SCHEDULE.snr(T)
    capped = torch.minimum(snr, torch.full_like(snr, gamma))
    torch.testing.assert_close(min_snr(EPS, T, gamma), capped / snr)
    torch.testing.assert_close(min_snr(V, T, gamma), capped / (snr + 1))
