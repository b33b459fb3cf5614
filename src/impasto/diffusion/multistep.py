"""Deterministic samplers that remember earlier steps, and so need one network call a step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from torch import Tensor

from impasto.diffusion.step import Denoise, Noise, Step, intervals, level, log_snr

ADAMS_BASHFORTH = ((1,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Weights of the latest derivatives, newest first, when the steps are equally long."""


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor, _: Noise) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu et al. 2211.01095 Algorithm 2, with alpha = 1 and lambda = -log sigma)."""
    x0_last, h_last = None, math.nan
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        h = log_snr(sigma_next) - log_snr(sigma)
        # The first step has no past, and the step to 0, infinitely long in lambda, takes x0 as it is.
        d = x0 if x0_last is None or not sigma_next else x0 + h / (2 * h_last) * (x0 - x0_last)
        x = (sigma_next / sigma) * x - math.expm1(-h) * d
        x0_last, h_last = x0, h
        yield Step(i, x, x0, sigma_next)


def lms(denoise: Denoise, x: Tensor, sigmas: Tensor, _: Noise, order: int = 4) -> Iterator[Step]:
    """Linear multistep in sigma: Adams-Bashforth for steps of any lengths (Hairer et al., Solving ODEs I, III.5)."""
    past: list[tuple[float, Tensor]] = []
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        past = [(sigma, (x - x0) / sigma), *past][:order]
        h = sigma_next - sigma
        w = weights([(s - sigma) / h for s, _ in past], [h / (k + 1) for k in range(len(past))])
        x = x + weighted(w, [d for _, d in past])
        yield Step(i, x, x0, sigma_next)


def plms(denoise: Denoise, x: Tensor, sigmas: Tensor, _: Noise) -> Iterator[Step]:
    """Pseudo linear multistep, PNDM without Runge-Kutta (Liu et al. 2202.09778 Eq. 12), as Stable Diffusion has it.

    The first step is an improved Euler step of two network calls; each ends with DDIM's transfer (Eq. 11), which is a
    step along eps in sigma.
    """
    past: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        past = [(x - x0) / sigma, *past][:4]
        eps = weighted(ADAMS_BASHFORTH[len(past) - 1], past)
        if i == 0 and sigma_next:
            u = x + (sigma_next - sigma) * eps
            eps = (eps + (u - denoise(u, level(sigma_next, x))) / sigma_next) / 2
        x = x + (sigma_next - sigma) * eps
        yield Step(i, x, x0, sigma_next)


def deis(denoise: Denoise, x: Tensor, sigmas: Tensor, _: Noise, order: int = 2) -> Iterator[Step]:
    """DEIS (Zhang & Chen 2204.13902 section 3.3, Adams-Bashforth in log rho, which is log sigma), `order` 1 to 3.

    The polynomial in log sigma through the last eps is integrated over sigma: with `u = log(s / sigma)`,
    `M_k = integral of u^k ds = sigma_next * u^k - k * M_(k-1)`. Fewer than 15 steps end with lower orders.
    """
    past: list[tuple[float, Tensor]] = []
    steps = len(sigmas) - 1
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        past = [(sigma, (x - x0) / sigma), *past][:order]
        p = 1 if not sigma_next else min(len(past), steps - i if steps < 15 else order)
        u, moments = log_snr(sigma) - log_snr(sigma_next), [sigma_next - sigma]
        for k in range(1, p):
            moments.append(sigma_next * u**k - k * moments[-1])
        w = weights([math.log(s / sigma) for s, _ in past[:p]], moments)
        x = x + weighted(w, [eps for _, eps in past[:p]])
        yield Step(i, x, x0, sigma_next)


def unipc(
    denoise: Denoise, x: Tensor, sigmas: Tensor, _: Noise, order: int = 3, variant: Literal["bh1", "bh2"] = "bh1"
) -> Iterator[Step]:
    """UniPC (Zhao et al. 2302.04867 Algorithms 5 and 6, predicting x0): x0 also corrects the step that led to it."""
    past: list[tuple[float, Tensor]] = []
    x_last, steps = x, len(sigmas) - 1
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        here = (log_snr(sigma), x0)
        if past:
            x = _unified(x_last, past, here[0], variant, corrector=x0)
        past = [here, *past][: min(order, steps - i, i + 1)]
        x_last = x
        x = _unified(x, past, log_snr(sigma_next), variant)
        yield Step(i, x, x0, sigma_next)


def _unified(
    x: Tensor, past: list[tuple[float, Tensor]], lambda_next: float, variant: str, corrector: Tensor | None = None
) -> Tensor:
    """Take UniP's step from `past` (newest first), or UniC's with the x0 that was found at its end."""
    (lambda_0, m_0), *older = past
    h = lambda_next - lambda_0
    r, d = [(lam - lambda_0) / h for lam, _ in older], [m - m_0 for _, m in older]
    if corrector is not None:
        r, d = [*r, 1.0], [*d, corrector - m_0]
    x = math.exp(-h) * x - math.expm1(-h) * m_0
    return x - weighted([w / rk for w, rk in zip(_unified_weights(r, -h, variant), r, strict=True)], d) if d else x


def _unified_weights(r: list[float], h: float, variant: str) -> Sequence[float]:
    """Return `B(h) * a` of Eq. 5. B cancels unless there is one weight alone, which the paper sets to 1/2."""
    if len(r) == 1:
        return [(h if variant == "bh1" else math.expm1(h)) / 2]
    phi, g = math.expm1(h), list[float]()
    for k in range(1, len(r) + 1):
        phi = phi / h - 1 / math.factorial(k)
        g.append(phi * math.factorial(k))
    return weights(r, g)


def weights(nodes: Sequence[float], moments: Sequence[float]) -> Sequence[float]:
    """Return w with `sum_j w_j * nodes_j^k = moments_k`: what integrates the polynomial through all nodes exactly."""
    found: list[float] = np.linalg.solve(np.vander(nodes, increasing=True).T, moments).tolist()
    return found


def weighted(w: Sequence[float], terms: Sequence[Tensor]) -> Tensor:
    """Return the sum of `terms`, each (B, C, H, W) times its weight."""
    total = w[0] * terms[0]
    for weight, term in zip(w[1:], terms[1:], strict=True):
        total = total + weight * term
    return total
