"""Guidance rescale against diffusers'."""

from __future__ import annotations

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from torch import Tensor

from impasto.diffusion.denoisers import DENOISERS
from impasto.diffusion.guidance import Guided, Rescaled
from impasto.diffusion.schedules import NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear()


def network(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    return (x + 0.01 * t.view(-1, 1, 1, 1)).sin() + context.mean((1, 2)).view(-1, 1, 1, 1) * x.cos()


@pytest.mark.parametrize("phi", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("name", DENOISERS)
def test_rescaled(name: str, phi: float) -> None:
    x = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 5
    sigma = torch.tensor([0.5, 2.0, 9.0])
    denoiser = DENOISERS[name](network, SCHEDULE)
    positive, negative = torch.full((1, 5, 2), 0.8), torch.full((1, 5, 2), -0.3)
    ours = Rescaled(Guided(denoiser, positive, negative, 7.5), denoiser.scalings, phi)(x, sigma)
    c_skip, c_out, c_in = (c.view(-1, 1, 1, 1) for c in denoiser.scalings(sigma))
    text, other = (network(c_in * x, SCHEDULE.timestep(sigma), context) for context in (positive, negative))
    theirs = rescale_noise_cfg(other + 7.5 * (text - other), text, phi)
    torch.testing.assert_close(ours, c_skip * x + c_out * theirs, rtol=0, atol=1e-5 * (1 + 9.0))
