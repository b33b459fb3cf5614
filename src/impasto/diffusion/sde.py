"""Samplers that add noise on the way: `eta` in [0, 1] scales how much, and `s_noise` the noise itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from impasto.diffusion.ode import heun_step, midpoint
from impasto.diffusion.step import Denoise, Noise, Step, ancestral, intervals, level, log_snr


def euler_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """Ancestral sampling (Song et al. 2011.13456 appendix F); `eta` 0 gives `euler`."""
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        d = (x - x0) / sigma
        x = x + (sigma_down - sigma) * d
        if sigma_up:
            x = x + s_noise * sigma_up * noise(sigma, sigma_next).to(x)
        yield Step(i, x, x0, sigma_next)


def dpm_2_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """Ancestral sampling (Song et al. 2011.13456 appendix F) with the steps of `dpm_2`, which `eta` 0 gives."""
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        x = x + (sigma_down - sigma) * midpoint(denoise, x, x0, sigma, sigma_down)
        if sigma_up:
            x = x + s_noise * sigma_up * noise(sigma, sigma_next).to(x)
        yield Step(i, x, x0, sigma_next)


def dpmpp_2s_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """DPM-Solver++(2S) with r = 1/2 (Lu et al. 2211.01095 Algorithm 1) in ancestral steps; two network calls a step."""
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = d = denoise(x, level(sigma, x))
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        if sigma_down:
            s = math.sqrt(sigma * sigma_down)
            u = (s / sigma) * x + (1 - s / sigma) * x0
            d = denoise(u, level(s, x))
        x = (sigma_down / sigma) * x + (1 - sigma_down / sigma) * d
        if sigma_up:
            x = x + s_noise * sigma_up * noise(sigma, sigma_next).to(x)
        yield Step(i, x, x0, sigma_next)


def dpmpp_sde(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """DPM-Solver++(2S) with r = 1/2 (Lu et al. 2211.01095 Algorithm 1), noise added at both its levels.

    That is k-diffusion's method: noise is asked for twice a step, for `(sigma, s)` and for `(sigma, sigma_next)`.
    """
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = d = denoise(x, level(sigma, x))
        asked = _in_single_precision(sigma, sigma_next)
        if sigma_next:
            s = math.sqrt(sigma * sigma_next)
            down, up = ancestral(sigma, s, eta)
            u = (down / sigma) * x + (1 - down / sigma) * x0
            if up:
                u = u + s_noise * up * noise(asked[0], asked[1]).to(x)
            d = denoise(u, level(s, x))
        down, up = ancestral(sigma, sigma_next, eta)
        x = (down / sigma) * x + (1 - down / sigma) * d
        if up:
            x = x + s_noise * up * noise(asked[0], asked[2]).to(x)
        yield Step(i, x, x0, sigma_next)


def _in_single_precision(sigma: float, sigma_next: float) -> tuple[float, float, float]:
    """Return `sigma`, the level half-way in log sigma and `sigma_next` as k-diffusion asks for their noise.

    It counts in float32 and in log sigma there. A Brownian path tells times apart that differ by a millionth.
    """
    t, t_next = (torch.tensor(level).log().neg() for level in (sigma, sigma_next))
    a, s, b = (time.neg().exp().item() for time in (t, t + (t_next - t) * 0.5, t_next))
    return a, s, b


def dpmpp_2m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: Noise,
    eta: float = 1.0,
    s_noise: float = 1.0,
    solver: Literal["midpoint", "heun"] = "midpoint",
) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M) (Lu et al. 2211.01095 section 5); `eta` 0 with the midpoint gives `dpmpp_2m`.

    The two solvers weigh the change of x0 by `1 - exp(-h)` over 2 and by the exact integral of a linear x0.
    """
    x0_last, h_last = None, math.nan
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        h = log_snr(sigma_next) - log_snr(sigma)
        h_eta = (1 + eta) * h
        x = math.exp(-h_eta) * x - math.expm1(-h_eta) * x0
        # The first step has no past, and the step to 0, infinitely long in lambda, takes x0 as it is.
        if x0_last is not None and sigma_next:
            phi = -math.expm1(-h_eta) / 2 if solver == "midpoint" else 1 + math.expm1(-h_eta) / h_eta
            x = x + phi * h / h_last * (x0 - x0_last)
        if eta and sigma_next:
            x = x + s_noise * sigma_next * math.sqrt(-math.expm1(-2 * eta * h)) * noise(sigma, sigma_next).to(x)
        x0_last, h_last = x0, h
        yield Step(i, x, x0, sigma_next)


def dpmpp_3m_sde(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """SDE-DPM-Solver++(3M): `dpmpp_2m_sde` with x0 extrapolated from three steps, as k-diffusion has it.

    `d1` and `d2` are the first and second differences of x0 in lambda, in units of `h` (Lu et al. 2211.01095 Eq. 8).
    """
    past: list[tuple[Tensor, float]] = []
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        h = log_snr(sigma_next) - log_snr(sigma)
        h_eta = (1 + eta) * h
        x = math.exp(-h_eta) * x - math.expm1(-h_eta) * x0
        if past and sigma_next:
            (x0_1, h_1), phi_2 = past[0], math.expm1(-h_eta) / h_eta + 1
            d1 = (x0 - x0_1) * (h / h_1)
            if len(past) > 1:
                x0_2, h_2 = past[1]
                d2 = (d1 - (x0_1 - x0_2) * (h / h_2)) * (h / (h_1 + h_2))
                x = x - (phi_2 / h_eta - 0.5) * d2
                d1 = d1 + d2 * (h_1 / h)
            x = x + phi_2 * d1
        if eta and sigma_next:
            x = x + s_noise * sigma_next * math.sqrt(-math.expm1(-2 * eta * h)) * noise(sigma, sigma_next).to(x)
        past = [(x0, h), *past[:1]]
        yield Step(i, x, x0, sigma_next)


def ddim(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, eta: float = 0.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """DDIM (Song et al. 2010.02502 Eq. 12 and 16); `eta` 0 is deterministic, 1 is DDPM.

    The paper's `x_t` is `sqrt(a) * x`, so that Eq. 12 is divided by `sqrt(a_next)` here.
    """
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        eps = (x - x0) / sigma
        a, a_next = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
        s = eta * math.sqrt((1 - a_next) / (1 - a) * (1 - a / a_next))
        x = x0 + math.sqrt((1 - a_next - s**2) / a_next) * eps
        if s:
            x = x + s_noise * s / math.sqrt(a_next) * noise(sigma, sigma_next).to(x)
        yield Step(i, x, x0, sigma_next)


def ddpm(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Iterator[Step]:
    """DDPM (Ho et al. 2006.11239 Algorithm 2, with the posterior of Eq. 7 and its variance, `beta-tilde`).

    Divided by `sqrt(a_next)`, as in `ddim`; `beta / (1 - a)` of Eq. 7 is then `1 - (sigma_next / sigma)^2`.
    """
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        w = 1 - (sigma_next / sigma) ** 2
        x = w * x0 + (1 - w) * x
        if sigma_next:
            x = x + sigma_next * math.sqrt(w) * noise(sigma, sigma_next).to(x)
        yield Step(i, x, x0, sigma_next)


def lcm(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, s_noise: float = 1.0) -> Iterator[Step]:
    """Multistep latent consistency sampling (Luo et al. 2310.04378 Algorithm 3): to x0, and back up with new noise.

    The paper's boundary scalings differ from 0 and 1 by less than 1e-5 at the times it samples, and are left out.
    """
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x = x0 = denoise(x, level(sigma, x))
        if sigma_next:
            x = x + s_noise * sigma_next * noise(sigma, sigma_next).to(x)
        yield Step(i, x, x0, sigma_next)


def restart(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, s_noise: float = 1.0) -> Iterator[Step]:
    """Restart sampling (Xu et al. 2306.14878 Algorithm 1) with Heun's steps: from 20 steps on, back up and down again.

    As many steps as asked for in all, on the levels of `restart_intervals`.
    """
    now = sigmas[0].item()
    for i, (sigma, sigma_next) in enumerate(restart_intervals(sigmas.tolist())):
        if sigma > now:
            x = x + s_noise * math.sqrt(sigma**2 - now**2) * noise(now, sigma).to(x)
        x, x0 = heun_step(denoise, x, sigma, sigma_next)
        now = sigma_next
        yield Step(i, x, x0, sigma_next)


def restart_intervals(sigmas: list[float]) -> list[tuple[float, float]]:
    """Return the steps of `restart`: once from 0.1 back to 2 in 9 steps, or from 36 on twice in a quarter of all.

    The rest, between the ends of `sigmas` and to 0, is spaced as Karras et al. (2206.00364 Eq. 5) do; the paper's own
    hyperparameters depend on the model, and these are what Stable Diffusion is used with.
    """
    steps, tail = len(sigmas) - 1, [0.0] if sigmas[-1] == 0 else []
    again, times = (9, 1) if steps < 36 else (steps // 4, 2)
    if steps < 20:
        return list(pairwise(sigmas))
    falling = [*_karras(sigmas[0], sigmas[-1 - len(tail)], steps + 1 - again * times - len(tail)), *tail]
    low, high = (min(range(len(falling)), key=lambda i: abs(falling[i] - mark)) for mark in (0.1, 2.0))
    if high >= low:
        return list(pairwise(sigmas))
    back = list(pairwise(_karras(falling[high], falling[low], again + 1)))
    return [*pairwise(falling[: low + 1]), *back * times, *pairwise(falling[low:])]


def _karras(high: float, low: float, levels: int, rho: float = 7.0) -> list[float]:
    a, b = high ** (1 / rho), low ** (1 / rho)
    return [high, *((a + i / (levels - 1) * (b - a)) ** rho for i in range(1, levels - 1)), low]
