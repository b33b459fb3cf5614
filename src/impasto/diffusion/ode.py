"""Samplers of the probability-flow ODE that look at one step at a time.

None of them adds noise by itself. With `s_churn` they go back up before each step (Karras et al. 2206.00364 Algorithm
2, lines 4 to 6): by `s_churn / N` of the level, where that is from `s_tmin` to `s_tmax`, with noise times `s_noise`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from impasto.diffusion.step import Denoise, Noise, Step, intervals, level


@dataclass(frozen=True)
class Churn:
    """How far to go back up before each of `steps` steps."""

    steps: int
    s_churn: float
    s_tmin: float
    s_tmax: float
    s_noise: float

    def __call__(self, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> tuple[Tensor, float]:
        """Return `x` with more noise, and its level."""
        gamma = min(self.s_churn / self.steps, math.sqrt(2) - 1) if self.s_tmin <= sigma <= self.s_tmax else 0.0
        if not gamma:
            return x, sigma
        sigma_hat = sigma * (1 + gamma)
        return x + self.s_noise * math.sqrt(sigma_hat**2 - sigma**2) * noise(sigma, sigma_next).to(x), sigma_hat


def euler(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: Noise,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """Euler's method on the probability-flow ODE (Karras et al. 2206.00364 Algorithm 1 without its lines 6 to 8)."""
    churn = Churn(len(sigmas) - 1, s_churn, s_tmin, s_tmax, s_noise)
    for i, (level_, sigma_next) in enumerate(intervals(sigmas)):
        x, sigma = churn(x, level_, sigma_next, noise)
        x0 = denoise(x, level(sigma, x))
        d = (x - x0) / sigma
        x = x + (sigma_next - sigma) * d
        yield Step(i, x, x0, sigma_next)


def heun(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: Noise,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """Heun's second-order method (Karras et al. 2206.00364 Algorithm 1); two network calls a step, one to reach 0."""
    churn = Churn(len(sigmas) - 1, s_churn, s_tmin, s_tmax, s_noise)
    for i, (level_, sigma_next) in enumerate(intervals(sigmas)):
        x, sigma = churn(x, level_, sigma_next, noise)
        x, x0 = heun_step(denoise, x, sigma, sigma_next)
        yield Step(i, x, x0, sigma_next)


def heun_step(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor]:
    """Return `x` at `sigma_next` and the x0 that the step began with (Karras et al. 2206.00364 Algorithm 1)."""
    x0 = denoise(x, level(sigma, x))
    d = (x - x0) / sigma
    x_next = x + (sigma_next - sigma) * d
    if sigma_next:
        d_next = (x_next - denoise(x_next, level(sigma_next, x))) / sigma_next
        x_next = x + (sigma_next - sigma) * (d + d_next) / 2
    return x_next, x0


def dpm_2(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: Noise,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """DPM-Solver-2 with the midpoint in log sigma (Lu et al. 2206.00927 Algorithm 1), as k-diffusion has it.

    The second derivative is taken for the whole step in sigma; two network calls a step, one to reach 0.
    """
    churn = Churn(len(sigmas) - 1, s_churn, s_tmin, s_tmax, s_noise)
    for i, (level_, sigma_next) in enumerate(intervals(sigmas)):
        x, sigma = churn(x, level_, sigma_next, noise)
        x0 = denoise(x, level(sigma, x))
        x = x + (sigma_next - sigma) * midpoint(denoise, x, x0, sigma, sigma_next)
        yield Step(i, x, x0, sigma_next)


def midpoint(denoise: Denoise, x: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Return `dx/dsigma` half-way to `sigma_next` in log sigma; on the way to 0, infinitely far, at the start."""
    d = (x - x0) / sigma
    if not sigma_next:
        return d
    s = math.sqrt(sigma * sigma_next)
    u = x + (s - sigma) * d
    return (u - denoise(u, level(s, x))) / s
