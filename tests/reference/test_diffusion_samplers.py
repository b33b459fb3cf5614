"""Samplers against k-diffusion and diffusers, step by step, with the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor
from torch.nn.functional import conv2d

from impasto.diffusion.denoisers import EpsDenoiser
from impasto.diffusion.samplers import SAMPLERS, ddim
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear()
STEPS = (1, 2, 5, 20, 50)
TOLERANCE = 1e-5  # of the noised picture's scale, 1 + sigma: float32 cannot keep 1e-5 beside a noise of 14.6
ALIASES = {"ddim": "euler"}  # with eta 0 and in x = x0 + sigma * noise, DDIM is Euler (2010.02502 Eq. 14)

Draw = Callable[[Any, Any], Tensor]


def network(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """The noise that is left if the clean picture is a squashed mix of neighbours: nonlinear, its own at each t."""
    kernel = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(1)) / 6
    x0 = (conv2d(x, kernel, padding=1) + 0.002 * t.view(-1, 1, 1, 1) + context.mean()).tanh()
    sigma = SCHEDULE.sigma(t).view(-1, 1, 1, 1)
    return ((sigma**2 + 1).sqrt() * x - x0) / sigma


def denoise(x: Tensor, sigma: Tensor) -> Tensor:
    return EpsDenoiser(network, SCHEDULE)(x, sigma, torch.full((1, 1, 1), 0.3))


def replay(seed: int, like: Tensor) -> Draw:
    """Noise that is the same for whoever asks first, second ..."""
    generator = torch.Generator().manual_seed(seed)
    return lambda _sigma, _sigma_next: torch.randn(like.shape, generator=generator)


def start(sigma: Tensor) -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(7)) * sigma


def peer_steps(peer: SimpleNamespace, name: str, sigmas: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield k-diffusion's `(x after the step, x0)`; its callback sees `x` before each."""
    before, predicted, x = [], [], start(sigmas[0])
    options = {"noise_sampler": replay(3, x)} if name in ("euler_ancestral", "dpmpp_2m_sde") else {}

    def seen(state: dict[str, Any]) -> None:
        before.append(state["x"])
        predicted.append(state["denoised"])

    function = getattr(peer.sampling, f"sample_{ALIASES.get(name, name)}")
    result = function(denoise, x, sigmas, callback=seen, disable=True, **options)
    return zip([*before[1:], result], predicted, strict=True)


def differences(peer: SimpleNamespace, name: str, schedule: str, steps: int) -> Iterator[float]:
    """Yield, for each step, the largest difference in units of `1 + sigma`."""
    sigmas = SIGMAS[schedule](SCHEDULE, steps)
    x = start(sigmas[0])
    ours = SAMPLERS[name](denoise, x, sigmas, replay(3, x))
    for step, before, (their_x, their_x0) in zip(ours, sigmas.tolist(), peer_steps(peer, name, sigmas), strict=False):
        yield (step.x - their_x).abs().max().item() / (1 + step.sigma)
        yield (step.x0 - their_x0).abs().max().item() / (1 + before)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("schedule", SIGMAS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_k_diffusion(k_diffusion: SimpleNamespace, name: str, schedule: str, steps: int) -> None:
    if (name, steps) == ("dpmpp_2m_sde", 1):
        pytest.skip("k-diffusion's dpmpp_2m_sde reads `h` before it is set when there is one step")
    found = list(differences(k_diffusion, name, schedule, steps))
    assert len(found) == 2 * steps
    assert max(found) <= TOLERANCE


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_against_diffusers(spacing: str, eta: float, steps: int) -> None:
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing=spacing, clip_sample=False
    )
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule(scheduler.alphas_cumprod)
    sigmas = torch.cat([schedule.sigmas[scheduler.timesteps], torch.zeros(1)])
    context = torch.full((1, 1, 1), 0.3)
    x = start(sigmas[0])
    x_t = x / (sigmas[0] ** 2 + 1).sqrt()
    draw = replay(3, x)
    ours = ddim(lambda x, sigma: EpsDenoiser(network, schedule)(x, sigma, context), x, sigmas, replay(3, x), eta=eta)
    for step, t in zip(ours, scheduler.timesteps, strict=True):
        noise = draw(None, None) if eta and step.sigma else torch.zeros_like(x)
        out = network(x_t, t.float().expand(2), context)
        x_t = scheduler.step(out, t, x_t, eta=eta, variance_noise=noise).prev_sample
        assert (step.x / (step.sigma**2 + 1) ** 0.5 - x_t).abs().max() <= TOLERANCE
