"""Noise levels against diffusers' and k-diffusion's: the same numbers, mostly to the bit."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from impasto.diffusion.schedules import SIGMAS, NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear()


def peer_sigmas(name: str, peer: SimpleNamespace, steps: int) -> Tensor:
    sampling, low, high = peer.sampling, SCHEDULE.sigmas[0].item(), SCHEDULE.sigmas[-1].item()
    return {
        "normal": lambda: peer.external.DiscreteSchedule(SCHEDULE.sigmas, quantize=False).get_sigmas(steps),
        "karras": lambda: sampling.get_sigmas_karras(steps, low, high),
        "exponential": lambda: sampling.get_sigmas_exponential(steps, low, high),
    }[name]()


@pytest.mark.parametrize("name", SIGMAS)
@pytest.mark.parametrize("steps", [1, 2, 5, 20, 50, 1000])
def test_sigmas(k_diffusion: SimpleNamespace, name: str, steps: int) -> None:
    assert torch.equal(SIGMAS[name](SCHEDULE, steps), peer_sigmas(name, k_diffusion, steps))


def test_alphas_cumprod() -> None:
    # CompVis, and so every SD checkpoint, takes the product in float64 with numpy; diffusers takes it in float32.
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
    assert np.array_equal(SCHEDULE.alphas_cumprod.numpy(), np.cumprod(1 - betas).astype(np.float32))
    theirs = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod
    torch.testing.assert_close(SCHEDULE.alphas_cumprod, theirs, rtol=2e-6, atol=0)


def test_between_timesteps_and_sigmas(k_diffusion: SimpleNamespace) -> None:
    theirs = k_diffusion.external.DiscreteSchedule(SCHEDULE.sigmas, quantize=False)
    t = torch.linspace(0, 999, 777)
    sigma = torch.cat([theirs.t_to_sigma(t), SCHEDULE.sigmas, torch.tensor([0.0, 0.01, 20.0])])
    assert torch.equal(SCHEDULE.sigma(t), theirs.t_to_sigma(t))
    assert torch.equal(SCHEDULE.timestep(sigma), theirs.sigma_to_t(sigma))
