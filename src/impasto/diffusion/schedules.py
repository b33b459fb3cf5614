"""Noise levels: which ones a network was trained on (`NoiseSchedule`) and which ones a sampler visits (`SIGMAS`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from typing_extensions import Self

from impasto.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The discrete noise levels that a network was trained on, and their continuous interpolation.

    Ho et al. (2006.11239) call the levels alpha-bar; sigma is the same level in the variance-exploding form,
    `sigma = sqrt((1 - a) / a)`. Every method answers on the device of what it was asked about.

    Attributes:
        alphas_cumprod: (T,) float32, strictly falling, within (0, 1).

    Raises:
        InvalidInput: `alphas_cumprod` is not as described.
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        a = self.alphas_cumprod
        if a.ndim != 1 or len(a) < 2 or a.dtype != torch.float32:
            raise InvalidInput(f"A noise schedule needs (T >= 2,) float32 values, not {tuple(a.shape)} {a.dtype}.")
        if not (a[-1] > 0 and a[0] < 1 and bool((a.diff() < 0).all())):
            raise InvalidInput("A noise schedule's alphas_cumprod must fall strictly and lie within (0, 1).")

    @classmethod
    def from_betas(cls, betas: Tensor) -> Self:
        """Build from the (T,) variances that each forward step adds; the product is in float64, as CompVis has it."""
        return cls((1 - betas.double()).cumprod(0).float())

    @classmethod
    def scaled_linear(cls, beta_start: float = 0.00085, beta_end: float = 0.012, steps: int = 1000) -> Self:
        """Build the schedule of Stable Diffusion 1.x: betas linear in their square root (Rombach et al. 2112.10752)."""
        return cls.from_betas(torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float64) ** 2)

    @cached_property
    def sigmas(self) -> Tensor:
        """(T,) float32, rising: the noise level of each step."""
        # In float32 from the rounded alphas, as k-diffusion and diffusers have it: 1 - a loses digits at the low end,
        # and the same picture needs the same loss.
        return ((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5

    @cached_property
    def log_sigmas(self) -> Tensor:
        """(T,) float32, rising."""
        return self.sigmas.log()

    def alpha_bar(self, t: Tensor) -> Tensor:
        """Return (B,) float32, the alphas_cumprod at the (B,) int64 steps `t`."""
        return self.alphas_cumprod.to(t.device)[t]

    def snr(self, t: Tensor) -> Tensor:
        """Return (B,) float32, the signal-to-noise ratio `a / (1 - a)` at the (B,) int64 steps `t`."""
        a = self.alpha_bar(t)
        return a / (1 - a)

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return the fractional step in [0, T - 1] of noise level `sigma`, linear in log sigma; same shape, float32."""
        log_sigma, table = sigma.float().log(), self.log_sigmas.to(sigma.device)
        low = (torch.bucketize(log_sigma, table, right=True) - 1).clamp(0, len(table) - 2)
        w = ((log_sigma - table[low]) / (table[low + 1] - table[low])).clamp(0, 1)
        return (1 - w) * low + w * (low + 1)

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise level at the fractional step `t` in [0, T - 1], linear in log sigma; same shape, float32."""
        t, table = t.float(), self.log_sigmas.to(t.device)
        w = t.frac()
        return ((1 - w) * table[t.floor().long()] + w * table[t.ceil().long()]).exp()


def normal(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Space the steps evenly in the network's own time, from T - 1 to 0 (Song et al. 2010.02502 section 4.2)."""
    return _to_zero(schedule.sigma(torch.linspace(len(schedule.sigmas) - 1, 0, _positive(steps))))


def karras(schedule: NoiseSchedule, steps: int, rho: float = 7.0) -> Tensor:
    """Space the steps evenly in `sigma ** (1 / rho)` (Karras et al. 2206.00364 Eq. 5)."""
    low, high = (sigma ** (1 / rho) for sigma in _range(schedule))
    return _to_zero((high + torch.linspace(0, 1, _positive(steps)) * (low - high)) ** rho)


def exponential(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Space the steps evenly in log sigma, DPM-Solver's uniform half-logSNR (Lu et al. 2206.00927 section 3.3)."""
    low, high = _range(schedule)
    return _to_zero(torch.linspace(math.log(high), math.log(low), _positive(steps)).exp())


def _range(schedule: NoiseSchedule) -> tuple[float, float]:
    return schedule.sigmas[0].item(), schedule.sigmas[-1].item()


def _positive(steps: int) -> int:
    if steps < 1:
        raise InvalidInput(f"Sampling needs at least 1 step, not {steps}.")
    return steps


def _to_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


Sigmas = Callable[[NoiseSchedule, int], Tensor]
"""`(schedule, steps) -> (steps + 1,)` float32, strictly falling, ending in 0."""

SIGMAS: dict[str, Sigmas] = {
    "normal": normal,
    "karras": karras,
    "exponential": exponential,
}
