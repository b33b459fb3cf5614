"""How strongly the words steer: wrappers that turn a conditional denoiser into the `(x, sigma) -> x0` of a sampler."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from impasto.errors import InvalidInput

Conditional = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`(x (B, C, H, W), sigma (B,), context (B, T, D)) -> x0 (B, C, H, W)`: any of the denoisers."""


@dataclass(frozen=True, eq=False)
class Guided:
    """Classifier-free guidance (Ho & Salimans 2207.12598 Eq. 6, on x0, which is linear in eps and in v).

    The paper's `w` is `scale - 1`: 1 follows the prompt as trained, more overstates what sets it apart from `negative`.

    Attributes:
        denoiser: the conditional denoiser.
        context: (1, T, D) for all pictures or (B, T, D), one for each.
        negative: the same for what to keep away from; (_, T, D).
        scale: 1 asks the denoiser for `context` alone, anything else for both in one call of twice the batch.

    Raises:
        InvalidInput: `context` and `negative` differ in tokens or width.
    """

    denoiser: Conditional
    context: Tensor
    negative: Tensor
    scale: float

    def __post_init__(self) -> None:
        if self.context.shape[1:] != self.negative.shape[1:]:
            given = f"{tuple(self.context.shape)} and {tuple(self.negative.shape)}"
            raise InvalidInput(f"Prompt and negative prompt differ in tokens or width: {given}. Pad the shorter one.")

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict the guided x0 (B, C, H, W) from `x` (B, C, H, W) at noise level `sigma` (B,).

        Raises:
            InvalidInput: there are several contexts, but not one a picture.
        """
        if self.scale == 1:
            return self.alone(x, sigma)
        positive, negative = self.both(x, sigma)
        return negative + self.scale * (positive - negative)

    def alone(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict x0 under `context` only."""
        return self.denoiser(x, sigma, _each(self.context, len(x)))

    def both(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Predict x0 under `context` and under `negative`, in one call."""
        context = torch.cat([_each(self.negative, len(x)), _each(self.context, len(x))])
        negative, positive = self.denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), context).chunk(2)
        return positive, negative


class Guidance(Protocol):
    """A guided denoiser that can also do without guidance."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict the guided x0 (B, C, H, W) from `x` (B, C, H, W) at noise level `sigma` (B,)."""

    def alone(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict x0 under the prompt only."""


class TwoSided(Guidance, Protocol):
    """Guidance whose two predictions can be had before they are combined: `Guided`, and `prompts.Composed`."""

    @property
    def scale(self) -> float:
        """Of guidance; 1 is none."""

    def both(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Predict x0 under the prompt and under the negative one."""


@dataclass(frozen=True, eq=False)
class Rescaled:
    """Guidance that keeps the spread of what follows the prompt alone (Lin et al. 2305.08891 Eq. 14 to 16).

    In terms of what the network gives, eps or v, as in the paper: strong guidance overexposes, and this undoes it.

    Attributes:
        guided: whose two predictions are combined.
        scalings: `sigma -> (c_skip, c_out, c_in)` of the denoiser: they say what the network gave.
        phi: how much of it, from 0 (nothing) to 1; the paper's is 0.7.

    Raises:
        InvalidInput: `phi` is out of range.
    """

    guided: TwoSided
    scalings: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    phi: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.phi <= 1:
            raise InvalidInput(f"The guidance rescale is from 0 to 1, not {self.phi}.")

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict the guided x0 (B, C, H, W) from `x` (B, C, H, W) at noise level `sigma` (B,)."""
        if self.guided.scale == 1 or self.phi == 0:
            return self.guided(x, sigma)
        c_skip, c_out, _ = (c.view(-1, *[1] * (x.ndim - 1)) for c in self.scalings(sigma))
        positive, negative = ((x0 - c_skip * x) / c_out for x0 in self.guided.both(x, sigma))
        cfg = negative + self.guided.scale * (positive - negative)
        sigma_pos, sigma_cfg = (f.flatten(1).std(1).view(-1, *[1] * (x.ndim - 1)) for f in (positive, cfg))
        return c_skip * x + c_out * cfg * (self.phi * sigma_pos / sigma_cfg + 1 - self.phi)

    def alone(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict x0 under the prompt only."""
        return self.guided.alone(x, sigma)


@dataclass(frozen=True, eq=False)
class Within:
    """Guidance in an interval of noise levels only (Kynkaanniemi et al. 2404.07724 Eq. 4); elsewhere the prompt alone.

    Attributes:
        guided: what to apply in the interval.
        low: sigma above which there is guidance.
        high: sigma up to which there is guidance.

    Raises:
        InvalidInput: the interval is empty.
    """

    guided: Guidance
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise InvalidInput(f"The guidance interval from {self.low} to {self.high} is empty. Give low < high.")

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict x0 (B, C, H, W) from `x` (B, C, H, W) at noise level `sigma` (B,), the same for the whole batch.

        Raises:
            InvalidInput: some of the levels are in the interval, and some are not.
        """
        inside = {self.low < level <= self.high for level in sigma.tolist()}
        if len(inside) > 1:
            raise InvalidInput("A guidance interval is for pictures that are all at the same noise level.")
        return self.guided(x, sigma) if inside == {True} else self.alone(x, sigma)

    def alone(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict x0 under the prompt only."""
        return self.guided.alone(x, sigma)


def _each(context: Tensor, pictures: int) -> Tensor:
    if len(context) not in (1, pictures):
        raise InvalidInput(f"{len(context)} contexts for {pictures} pictures. Give one for all, or one for each.")
    return context.expand(pictures, -1, -1)
