"""Noise levels: which ones a network was trained on (`NoiseSchedule`) and which ones a sampler visits (`SIGMAS`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
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

    def to_zero_snr(self, last: float = 2**-24) -> Self:
        """Return the schedule stretched so that its last step hides the picture (Lin et al. 2305.08891 Algorithm 1).

        Args:
            last: the last alpha-bar, which must not be 0 for there to be a noise level; diffusers' is the smallest
                number of half precision.
        """
        root = self.alphas_cumprod.double().sqrt()
        a = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
        a[-1] = last
        return type(self)(a.float())

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


Level: TypeAlias = float | None
"""A noise level in sigma to begin or to end with; None is the network's own."""


def normal(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Space the steps evenly in the network's own time, from T - 1 to 0 (Song et al. 2010.02502 section 4.2)."""
    return _to_zero(schedule.sigma(torch.linspace(len(schedule.sigmas) - 1, 0, _positive(steps))))


def karras(
    schedule: NoiseSchedule, steps: int, rho: float = 7.0, sigma_min: Level = None, sigma_max: Level = None
) -> Tensor:
    """Space the steps evenly in `sigma ** (1 / rho)` (Karras et al. 2206.00364 Eq. 5)."""
    low, high = (sigma ** (1 / rho) for sigma in _range(schedule, sigma_min, sigma_max))
    return _to_zero((high + torch.linspace(0, 1, _positive(steps)) * (low - high)) ** rho)


def exponential(schedule: NoiseSchedule, steps: int, sigma_min: Level = None, sigma_max: Level = None) -> Tensor:
    """Space the steps evenly in log sigma, DPM-Solver's uniform half-logSNR (Lu et al. 2206.00927 section 3.3)."""
    low, high = _range(schedule, sigma_min, sigma_max)
    return _to_zero(torch.linspace(math.log(high), math.log(low), _positive(steps)).exp())


def polyexponential(
    schedule: NoiseSchedule, steps: int, rho: float = 1.0, sigma_min: Level = None, sigma_max: Level = None
) -> Tensor:
    """Space the steps evenly in `log(sigma) ** (1 / rho)`, scaled to its range; `rho` 1 is `exponential`."""
    low, high = (math.log(sigma) for sigma in _range(schedule, sigma_min, sigma_max))
    return _to_zero((low + torch.linspace(1, 0, _positive(steps)) ** rho * (high - low)).exp())


def sgm_uniform(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Space the steps evenly in the network's time, the last one to time 0, which is left out (as Stability's SGM)."""
    return _to_zero(schedule.sigma(torch.linspace(len(schedule.sigmas) - 1, 0, _positive(steps) + 1)[:-1]))


def sgm_uniform_lowest(schedule: NoiseSchedule, steps: int) -> Tensor:
    """As `sgm_uniform`, but to time 0 instead of to noise level 0: DPM-Solver's and UniPC's own `time_uniform`."""
    return _lowest(schedule, sgm_uniform(schedule, steps))


def simple(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Take every `T / steps`-th of the network's own levels from the top, rounded up."""
    top = len(schedule.sigmas) - 1
    return _at(schedule, [top - int(i * ((top + 1) / steps)) for i in range(_within(schedule, steps))])


def ddim_uniform(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Take the levels 1, 1 + k, 1 + 2 k ... with `k = T // steps` (Song et al. 2010.02502 appendix D.3, as CompVis).

    Where `steps` does not divide T there are more of them than `steps`, as in CompVis's and ComfyUI's.
    """
    return _at(schedule, range(1, len(schedule.sigmas), len(schedule.sigmas) // _within(schedule, steps)))


def compvis(schedule: NoiseSchedule, steps: int) -> Tensor:
    """As `ddim_uniform`, but ending at the network's lowest level: CompVis's and A1111's for DDIM and PLMS."""
    top = len(schedule.sigmas)
    return _lowest(
        schedule, _at(schedule, (min(t + 1, top - 1) for t in range(0, top, top // _within(schedule, steps))))
    )


def linspace(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Take levels from T - 1 to 0, evenly spaced and rounded (Lin et al. 2305.08891 table 2)."""
    top = len(schedule.sigmas) - 1
    return _at(schedule, np.linspace(0, top, steps).round() if _within(schedule, steps) > 1 else [top])


def leading(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Take the first of every `T // steps` levels, one up (Lin et al. 2305.08891 table 2; SD's offset)."""
    apart = len(schedule.sigmas) // _within(schedule, steps)
    return _at(schedule, [min(i * apart + 1, len(schedule.sigmas) - 1) for i in range(steps)])


def leading_lowest(schedule: NoiseSchedule, steps: int) -> Tensor:
    """As `leading`, but ending at the network's lowest level (diffusers' `set_alpha_to_one=False`)."""
    return _lowest(schedule, leading(schedule, steps))


def trailing(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Take the last of every `T / steps` levels (Lin et al. 2305.08891 table 2)."""
    top = len(schedule.sigmas)
    return _at(schedule, np.arange(top, 0, -top / _within(schedule, steps)).round()[:steps] - 1)


def trailing_lowest(schedule: NoiseSchedule, steps: int) -> Tensor:
    """As `trailing`, but ending at the network's lowest level (diffusers' `set_alpha_to_one=False`)."""
    return _lowest(schedule, trailing(schedule, steps))


def linspace_multistep(schedule: NoiseSchedule, steps: int) -> Tensor:
    """As `linspace` with one more step, the last left out: diffusers' for DPM-Solver, DEIS and UniPC."""
    return _at(schedule, np.linspace(0, len(schedule.sigmas) - 1, _within(schedule, steps) + 1).round()[1:])


def leading_multistep(schedule: NoiseSchedule, steps: int) -> Tensor:
    """As `leading` with one more step, the last left out: diffusers' for DPM-Solver, DEIS and UniPC."""
    apart = len(schedule.sigmas) // (_within(schedule, steps) + 1) or 1
    return _at(schedule, [min(i * apart + 1, len(schedule.sigmas) - 1) for i in range(1, steps + 1)])


def lcm(schedule: NoiseSchedule, steps: int, distilled: int = 50) -> Tensor:
    """Take evenly spaced ones of the `distilled` levels that a consistency model knows (Luo et al. 2310.04378 4.3)."""
    if _positive(steps) > distilled:
        raise InvalidInput(f"A consistency model knows {distilled} steps, not {steps}. Use fewer: 4 to 8 are usual.")
    apart = len(schedule.sigmas) // distilled
    return _at(schedule, [(distilled - int(i * (distilled / steps))) * apart - 1 for i in range(steps)])


def beta(schedule: NoiseSchedule, steps: int, alpha: float = 0.6) -> Tensor:
    """Space the steps in the network's time as quantiles of Beta(alpha, alpha) (Lee et al. 2407.12173 section 4)."""
    quantiles = _beta_quantiles(1 - np.arange(_within(schedule, steps)) / steps, alpha)
    times = (quantiles * (len(schedule.sigmas) - 1)).round()
    return _at(schedule, times)


def beta_sigma(
    schedule: NoiseSchedule, steps: int, alpha: float = 0.6, sigma_min: Level = None, sigma_max: Level = None
) -> Tensor:
    """Space the steps as the quantiles of Beta(alpha, alpha) in sigma rather than in time: A1111's and diffusers'."""
    low, high = _range(schedule, sigma_min, sigma_max)
    quantiles = _beta_quantiles(1 - np.linspace(0, 1, _positive(steps)), alpha)
    return _to_zero(torch.from_numpy(low + quantiles * (high - low)).float())


def align_your_steps(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Take the levels that were optimised for Stable Diffusion 1.5 (Sabour et al. 2404.14507), the last to 0.

    Other than 10 steps are interpolated in log sigma, as the authors recommend.
    """
    return _to_zero(_interpolated(ALIGN_YOUR_STEPS, _positive(steps) + 1)[:-1]).to(schedule.sigmas)


def align_your_steps_whole(schedule: NoiseSchedule, steps: int) -> Tensor:
    """As `align_your_steps`, but with 0 after the last of its levels instead of in its place: A1111's."""
    return _to_zero(_interpolated(ALIGN_YOUR_STEPS, _positive(steps))).to(schedule.sigmas)


def kl_optimal(schedule: NoiseSchedule, steps: int, sigma_min: Level = None, sigma_max: Level = None) -> Tensor:
    """Space the steps evenly in `arctan(sigma)`, optimal for normal data (Sabour et al. 2404.14507 theorem 3.1)."""
    low, high = (math.atan(sigma) for sigma in _range(schedule, sigma_min, sigma_max))
    return _to_zero((high + torch.linspace(0, 1, _positive(steps)) * (low - high)).tan())


def kl_optimal_lowest(schedule: NoiseSchedule, steps: int, sigma_min: Level = None, sigma_max: Level = None) -> Tensor:
    """As `kl_optimal`, but with the network's lowest level as the last instead of 0: A1111's."""
    return kl_optimal(schedule, _positive(steps) + 1, sigma_min, sigma_max)[:-1]


ALIGN_YOUR_STEPS = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)


def _interpolated(levels: Sequence[float], count: int) -> Tensor:
    places = np.linspace(0, len(levels) - 1, count)
    return torch.from_numpy(np.exp(np.interp(places, range(len(levels)), np.log(levels)))).float()


def _beta_quantiles(p: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Invert the distribution function of Beta(alpha, alpha) by bisection.

    It is symmetric, and on [0, 1/2] its power series (Abramowitz & Stegun 26.5.4) gains a binary digit a term.
    """
    n = np.arange(60)
    series = np.cumprod(np.concatenate([[1.0], (n[1:] - alpha) / n[1:]])) / (alpha + n)
    scale = math.gamma(2 * alpha) / math.gamma(alpha) ** 2
    lower = np.minimum(p, 1 - p)
    low, high = np.zeros_like(p), np.full_like(p, 0.5)
    for _ in range(60):
        x = (low + high) / 2
        below = scale * x**alpha * (x[:, None] ** n @ series) < lower
        low, high = np.where(below, x, low), np.where(below, high, x)
    return np.where(p > 0.5, 1 - high, np.where(p == 0.5, 0.5, high))


def _at(schedule: NoiseSchedule, times: Iterable[float]) -> Tensor:
    """Return the network's own levels at `times`; where two of them are the same there is a step less."""
    return _to_zero(schedule.sigmas[torch.tensor(sorted({int(t) for t in times}, reverse=True))])


def _lowest(schedule: NoiseSchedule, sigmas: Tensor) -> Tensor:
    low = schedule.sigmas[:1]
    return torch.cat([sigmas[sigmas > low], low])


def _range(schedule: NoiseSchedule, lowest: Level = None, highest: Level = None) -> tuple[float, float]:
    """Return the lowest and the highest level to take: those given, or else the network's own."""
    low = schedule.sigmas[0].item() if lowest is None else lowest
    high = schedule.sigmas[-1].item() if highest is None else highest
    if not 0 < low < high:
        raise InvalidInput(f"Noise levels from {low:g} to {high:g} are none. Give 0 < sigma_min < sigma_max.")
    return low, high


def _positive(steps: int) -> int:
    if steps < 1:
        raise InvalidInput(f"Sampling needs at least 1 step, not {steps}.")
    return steps


def _within(schedule: NoiseSchedule, steps: int) -> int:
    if _positive(steps) > len(schedule.sigmas):
        raise InvalidInput(f"There are {len(schedule.sigmas)} noise levels to take {steps} from. Ask for fewer steps.")
    return steps


def _to_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


Sigmas = Callable[[NoiseSchedule, int], Tensor]
"""`(schedule, steps) -> (steps + 1,)` float32, strictly falling, mostly ending in 0.

Those that take the network's own levels have a step less where two would be the same, and `ddim_uniform` and `compvis`
a few more where `steps` does not divide T. `NAME_lowest` and `compvis` end at the network's lowest level instead of 0.
So pictures made elsewhere are made again with the levels that they were made with.
"""


def without_penultimate(sigmas: Sigmas) -> Sigmas:
    """Return `sigmas` of one step more with the last level above 0 left out, as tools do for some samplers."""

    def shortened(schedule: NoiseSchedule, steps: int) -> Tensor:
        levels = sigmas(schedule, _positive(steps) + 1)
        return torch.cat([levels[:-2], levels[-1:]])

    return shortened


SIGMAS: dict[str, Sigmas] = {
    "normal": normal,
    "karras": karras,
    "exponential": exponential,
    "polyexponential": polyexponential,
    "sgm_uniform": sgm_uniform,
    "sgm_uniform_lowest": sgm_uniform_lowest,
    "simple": simple,
    "ddim_uniform": ddim_uniform,
    "compvis": compvis,
    "beta": beta,
    "beta_sigma": beta_sigma,
    "align_your_steps": align_your_steps,
    "align_your_steps_whole": align_your_steps_whole,
    "kl_optimal": kl_optimal,
    "kl_optimal_lowest": kl_optimal_lowest,
    "linspace": linspace,
    "linspace_multistep": linspace_multistep,
    "leading": leading,
    "leading_multistep": leading_multistep,
    "leading_lowest": leading_lowest,
    "trailing": trailing,
    "trailing_lowest": trailing_lowest,
    "lcm": lcm,
}
