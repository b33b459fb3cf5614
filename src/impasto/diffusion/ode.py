"""Samplers of the probability-flow ODE that look at one step at a time; none of them adds noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from impasto.diffusion.step import Denoise, Noise, Step, intervals, level


def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, _: Noise) -> Iterator[Step]:
    """Euler's method on the probability-flow ODE (Karras et al. 2206.00364 Algorithm 1 without its lines 6 to 8)."""
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
        x0 = denoise(x, level(sigma, x))
        d = (x - x0) / sigma
        x = x + (sigma_next - sigma) * d
        yield Step(i, x, x0, sigma_next)


def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, _: Noise) -> Iterator[Step]:
    """Heun's second-order method (Karras et al. 2206.00364 Algorithm 1); two network calls a step, one to reach 0."""
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
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


def dpm_2(denoise: Denoise, x: Tensor, sigmas: Tensor, _: Noise) -> Iterator[Step]:
    """DPM-Solver-2 with the midpoint in log sigma (Lu et al. 2206.00927 Algorithm 1), as k-diffusion has it.

    The second derivative is taken for the whole step in sigma; two network calls a step, one to reach 0.
    """
    for i, (sigma, sigma_next) in enumerate(intervals(sigmas)):
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
