"""How the noise comes off, step by step: each sampler a generator that its caller drives, listed in `SAMPLERS`.

A sampler starts from `x` with noise of level `sigmas[0]` and visits the falling `sigmas`, which mostly end in 0. It
keeps nothing between calls and changes none of its arguments. Gradients are recorded if the caller lets them: sample
under `torch.inference_mode()`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
"""`(x (B, C, H, W), sigma (B,)) -> x0 (B, C, H, W)`: the clean picture that `x` seems to hide."""

Noise = Callable[[float, float], Tensor]
"""`(sigma, sigma_next) -> (B, C, H, W)`: standard normal noise for that interval, on any device."""


@dataclass(frozen=True, eq=False)
class Step:
    """Where sampling stands after a step.

    Attributes:
        index: of the step, from 0.
        x: (B, C, H, W) after the step; the result after the last one.
        x0: (B, C, H, W) the denoiser's prediction that the step began with; a preview.
        sigma: the noise level that `x` has now.
    """

    index: int
    x: Tensor
    x0: Tensor
    sigma: float


def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, _: Noise) -> Iterator[Step]:
    """Euler's method on the probability-flow ODE (Karras et al. 2206.00364 Algorithm 1 without its lines 6 to 8)."""
    for i, (sigma, sigma_next) in enumerate(_intervals(sigmas)):
        x0 = denoise(x, _level(sigma, x))
        d = (x - x0) / sigma
        x = x + (sigma_next - sigma) * d
        yield Step(i, x, x0, sigma_next)


def euler_ancestral(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, eta: float = 1.0) -> Iterator[Step]:
    """Ancestral sampling (Song et al. 2011.13456 appendix F); `eta` in [0, 1] scales its noise, 0 gives `euler`."""
    for i, (sigma, sigma_next) in enumerate(_intervals(sigmas)):
        x0 = denoise(x, _level(sigma, x))
        sigma_up = min(sigma_next, eta * sigma_next * math.sqrt(1 - (sigma_next / sigma) ** 2))
        sigma_down = math.sqrt(sigma_next**2 - sigma_up**2)
        d = (x - x0) / sigma
        x = x + (sigma_down - sigma) * d
        if sigma_up:
            x = x + sigma_up * noise(sigma, sigma_next).to(x)
        yield Step(i, x, x0, sigma_next)


def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, _: Noise) -> Iterator[Step]:
    """Heun's second-order method (Karras et al. 2206.00364 Algorithm 1); two network calls a step, one to reach 0."""
    for i, (sigma, sigma_next) in enumerate(_intervals(sigmas)):
        x0 = denoise(x, _level(sigma, x))
        d = (x - x0) / sigma
        x_next = x + (sigma_next - sigma) * d
        if sigma_next:
            d_next = (x_next - denoise(x_next, _level(sigma_next, x))) / sigma_next
            x_next = x + (sigma_next - sigma) * (d + d_next) / 2
        x = x_next
        yield Step(i, x, x0, sigma_next)


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor, _: Noise) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu et al. 2211.01095 Algorithm 2, with alpha = 1 and lambda = -log sigma)."""
    x0_last, h_last = None, math.nan
    for i, (sigma, sigma_next) in enumerate(_intervals(sigmas)):
        x0 = denoise(x, _level(sigma, x))
        h = _lambda(sigma_next) - _lambda(sigma)
        # The first step has no past, and the step to 0, infinitely long in lambda, takes x0 as it is.
        d = x0 if x0_last is None or not sigma_next else x0 + h / (2 * h_last) * (x0 - x0_last)
        x = (sigma_next / sigma) * x - math.expm1(-h) * d
        x0_last, h_last = x0, h
        yield Step(i, x, x0, sigma_next)


def dpmpp_2m_sde(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, eta: float = 1.0) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M) (Lu et al. 2211.01095, midpoint); `eta` in [0, 1] scales the noise, 0 gives `dpmpp_2m`."""
    x0_last, h_last = None, math.nan
    for i, (sigma, sigma_next) in enumerate(_intervals(sigmas)):
        x0 = denoise(x, _level(sigma, x))
        h = _lambda(sigma_next) - _lambda(sigma)
        d = x0 if x0_last is None or not sigma_next else x0 + h / (2 * h_last) * (x0 - x0_last)
        x = (sigma_next / sigma) ** (1 + eta) * x - math.expm1(-(1 + eta) * h) * d
        if eta and sigma_next:
            x = x + sigma_next * math.sqrt(-math.expm1(-2 * eta * h)) * noise(sigma, sigma_next).to(x)
        x0_last, h_last = x0, h
        yield Step(i, x, x0, sigma_next)


def ddim(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, eta: float = 0.0) -> Iterator[Step]:
    """DDIM (Song et al. 2010.02502 Eq. 12 and 16); `eta` 0 is deterministic, 1 is DDPM.

    The paper's `x_t` is `sqrt(a) * x`, so that Eq. 12 is divided by `sqrt(a_next)` here.
    """
    for i, (sigma, sigma_next) in enumerate(_intervals(sigmas)):
        x0 = denoise(x, _level(sigma, x))
        eps = (x - x0) / sigma
        a, a_next = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
        s = eta * math.sqrt((1 - a_next) / (1 - a) * (1 - a / a_next))
        x = x0 + math.sqrt((1 - a_next - s**2) / a_next) * eps
        if s:
            x = x + s / math.sqrt(a_next) * noise(sigma, sigma_next).to(x)
        yield Step(i, x, x0, sigma_next)


def _intervals(sigmas: Tensor) -> Iterator[tuple[float, float]]:
    return pairwise(sigmas.tolist())


def _level(sigma: float, x: Tensor) -> Tensor:
    """(B,) of `sigma`, never in half precision: neighbouring noise levels must stay apart."""
    return torch.full((len(x),), sigma, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)


def _lambda(sigma: float) -> float:
    return -math.log(sigma) if sigma else math.inf


Sampler = Callable[[Denoise, Tensor, Tensor, Noise], Iterator[Step]]
"""`(denoise, x (B, C, H, W), sigmas (N + 1,), noise) -> N steps`."""

SAMPLERS: dict[str, Sampler] = {
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_sde": dpmpp_2m_sde,
    "ddim": ddim,
}
