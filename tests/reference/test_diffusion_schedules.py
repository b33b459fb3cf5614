"""Noise levels against diffusers' and k-diffusion's: the same numbers, mostly to the bit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, LCMScheduler, UniPCMultistepScheduler
from diffusers.schedulers.scheduling_utils import AysSchedules
from torch import Tensor

from impasto.diffusion.schedules import SIGMAS, NoiseSchedule, beta, exponential, karras, polyexponential

SCHEDULE = NoiseSchedule.scaled_linear()


def at(times: Any) -> Tensor:
    """The levels at whole `times`, and 0."""
    return torch.cat([SCHEDULE.sigmas[torch.as_tensor(times, dtype=torch.int64)], torch.zeros(1)])


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 50, 1000])
def test_k_diffusion(k_diffusion: SimpleNamespace, steps: int) -> None:
    sampling, low, high = k_diffusion.sampling, SCHEDULE.sigmas[0].item(), SCHEDULE.sigmas[-1].item()
    normal = k_diffusion.external.DiscreteSchedule(SCHEDULE.sigmas, quantize=False).get_sigmas(steps)
    assert torch.equal(SIGMAS["normal"](SCHEDULE, steps), normal)
    assert torch.equal(SIGMAS["karras"](SCHEDULE, steps), sampling.get_sigmas_karras(steps, low, high))
    assert torch.equal(SIGMAS["exponential"](SCHEDULE, steps), sampling.get_sigmas_exponential(steps, low, high))
    for rho in (0.7, 1.0, 2.0):
        theirs = sampling.get_sigmas_polyexponential(steps, low, high, rho)
        torch.testing.assert_close(polyexponential(SCHEDULE, steps, rho), theirs, rtol=1e-6, atol=0)
    between = {"sigma_min": 0.1, "sigma_max": 10.0}
    assert torch.equal(karras(SCHEDULE, steps, rho=5, **between), sampling.get_sigmas_karras(steps, 0.1, 10.0, 5))
    assert torch.equal(exponential(SCHEDULE, steps, **between), sampling.get_sigmas_exponential(steps, 0.1, 10.0))
    theirs = sampling.get_sigmas_polyexponential(steps, 0.1, 10.0, 2)
    torch.testing.assert_close(polyexponential(SCHEDULE, steps, 2, **between), theirs, rtol=1e-6, atol=0)


@pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # the peer hands tensors to numpy
@pytest.mark.parametrize("steps", [2, 3, 7, 20, 30, 50, 333])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_spacings_of_diffusers(spacing: str, steps: int) -> None:
    for name, kind in ((spacing, DDIMScheduler), (f"{spacing}_multistep", UniPCMultistepScheduler)):
        scheduler = kind(timestep_spacing=spacing, steps_offset=1)
        scheduler.set_timesteps(steps)
        ours = SIGMAS[name if name in SIGMAS else spacing](SCHEDULE, steps)
        assert torch.equal(ours, at(scheduler.timesteps))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 16, 50])
def test_lcm(steps: int) -> None:
    scheduler = LCMScheduler()
    scheduler.set_timesteps(steps)
    assert torch.equal(SIGMAS["lcm"](SCHEDULE, steps), at(scheduler.timesteps))


@pytest.mark.parametrize("steps", [1, 2, 5, 12, 20, 30, 50, 100])
def test_beta(steps: int) -> None:
    low, high = SCHEDULE.sigmas[0].item(), SCHEDULE.sigmas[-1].item()
    times = np.rint(scipy.stats.beta.ppf(1 - np.linspace(0, 1, steps, endpoint=False), 0.6, 0.6) * 999)
    assert torch.equal(SIGMAS["beta"](SCHEDULE, steps), at(np.unique(times)[::-1].copy()))
    scheduler = EulerDiscreteScheduler(use_beta_sigmas=True)
    theirs = scheduler._convert_to_beta(torch.tensor([high, low], dtype=torch.float64), steps)
    ours = SIGMAS["beta_sigma"](SCHEDULE, steps)
    np.testing.assert_allclose(ours[:-1].numpy(), theirs, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.3, 0.6, 1.0, 2.0])
def test_beta_of_other_shapes(alpha: float) -> None:
    times = np.rint(scipy.stats.beta.ppf(1 - np.linspace(0, 1, 20, endpoint=False), alpha, alpha) * 999)
    assert torch.equal(beta(SCHEDULE, 20, alpha), at(np.unique(times)[::-1].copy()))


def test_align_your_steps() -> None:
    *published, _ = AysSchedules["StableDiffusionSigmas"]
    np.testing.assert_allclose(SIGMAS["align_your_steps"](SCHEDULE, 10).numpy(), [*published, 0], rtol=1e-6)
    np.testing.assert_allclose(SIGMAS["align_your_steps_whole"](SCHEDULE, 11), [*published, 0.029, 0], rtol=1e-6)
    theirs = np.log([*published, 0.029])[::-1]
    theirs = np.exp(np.interp(np.linspace(0, 1, 26), np.linspace(0, 1, 11), theirs))[::-1]
    np.testing.assert_allclose(SIGMAS["align_your_steps"](SCHEDULE, 25)[:-1].numpy(), theirs[:-1], rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 8, 20, 30, 50])
def test_what_comfyui_and_compvis_do(steps: int) -> None:
    def falling(times: Any) -> list[int]:
        return sorted(times, reverse=True)

    assert torch.equal(SIGMAS["simple"](SCHEDULE, steps), at([999 - int(i * (1000 / steps)) for i in range(steps)]))
    assert torch.equal(SIGMAS["ddim_uniform"](SCHEDULE, steps), at(falling(range(1, 1000, 1000 // steps))))
    published = np.asarray(list(range(0, 1000, 1000 // steps))) + 1  # CompVis, make_ddim_timesteps
    compvis = SIGMAS["compvis"](SCHEDULE, steps)
    assert torch.equal(compvis[:-1], at(falling(published))[:-1])
    assert compvis[-1] == SCHEDULE.sigmas[0]
    sgm = SCHEDULE.sigma(torch.linspace(999, 0, steps + 1)[:-1])
    assert torch.equal(SIGMAS["sgm_uniform"](SCHEDULE, steps)[:-1], sgm)
    low, high = SCHEDULE.sigmas[0].double().atan(), SCHEDULE.sigmas[-1].double().atan()
    i = torch.arange(steps + 1, dtype=torch.float64) / steps
    lowest = ((1 - i) * high + i * low).tan().float()
    torch.testing.assert_close(SIGMAS["kl_optimal_lowest"](SCHEDULE, steps), lowest, rtol=1e-5, atol=0)
    torch.testing.assert_close(SIGMAS["kl_optimal"](SCHEDULE, steps + 1)[:-1], lowest, rtol=1e-5, atol=0)


def test_zero_terminal_snr() -> None:
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=True
    )
    ours = SCHEDULE.to_zero_snr().alphas_cumprod
    torch.testing.assert_close(ours, scheduler.alphas_cumprod, rtol=2e-4, atol=1e-7)  # the peer works in float32


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
