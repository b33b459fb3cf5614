"""What all samplers share: what they are given, the step that they yield, and the scale that they count in."""

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


def intervals(sigmas: Tensor) -> Iterator[tuple[float, float]]:
    """Yield `(sigma, sigma_next)` of each step."""
    return pairwise(sigmas.tolist())


def level(sigma: float, x: Tensor) -> Tensor:
    """(B,) of `sigma`, never in half precision: neighbouring noise levels must stay apart."""
    return torch.full((len(x),), sigma, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)


def log_snr(sigma: float) -> float:
    """Half the logarithm of the signal-to-noise ratio, the `lambda` of DPM-Solver, with alpha = 1: `-log sigma`."""
    return -math.log(sigma) if sigma else math.inf


def ancestral(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """Split the step to `sigma_next` into the level to go down to and that of the noise to add, `eta` times DDPM's."""
    up = min(sigma_next, eta * sigma_next * math.sqrt(1 - (sigma_next / sigma) ** 2))
    return math.sqrt(sigma_next**2 - up**2), up
