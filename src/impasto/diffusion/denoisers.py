"""What a network's output means: from a noised picture to the clean one, and the loss that trains it.

With `x = x0 + sigma * noise`, a denoiser is `D(x; sigma) = c_skip * x + c_out * F(c_in * x, t)` (Karras et al.
2206.00364 Eq. 7). Stable Diffusion's networks `F` were trained on `x_t = sqrt(a) * x0 + sqrt(1 - a) * noise`, which is
`c_in * x`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.diffusion.schedules import NoiseSchedule

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`(x_t (B, C, H, W), t (B,) float32, context (B, T, D)) -> (B, C, H, W)`."""


@dataclass(frozen=True, eq=False)
class Denoiser(ABC):
    """A network together with the meaning of its output.

    Attributes:
        network: called with `(x_t, t, context)`.
        schedule: the noise levels that the network was trained on.
    """

    network: Network
    schedule: NoiseSchedule

    def __call__(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        """Predict the clean `x0` (B, C, H, W) from `x` with noise of level `sigma` (B,) under `context` (B, T, D)."""
        c_skip, c_out, c_in = (_column(c, x) for c in self.scalings(sigma))
        return c_skip * x + c_out * self.network(c_in * x, self.schedule.timestep(sigma), context)

    def loss(self, x0: Tensor, noise: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Return the (B,) mean squared errors of the network against its own target, unweighted.

        Args:
            x0: (B, C, H, W) clean latents.
            noise: (B, C, H, W) standard normal.
            t: (B,) int64 steps of the schedule.
            context: (B, T, D).
        """
        return self.errors(x0, noise, t, context).square().flatten(1).mean(1)

    def errors(self, x0: Tensor, noise: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Return by how much the network misses its own target, (B, C, H, W); see `loss`."""
        a = _column(self.schedule.alpha_bar(t), x0)
        x_t = a.sqrt() * x0 + (1 - a).sqrt() * noise
        return self.network(x_t, t.float(), context) - self.target(x0, noise, a)

    @abstractmethod
    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return `c_skip, c_out, c_in` for the noise levels `sigma`, each of its shape."""

    @abstractmethod
    def target(self, x0: Tensor, noise: Tensor, a: Tensor) -> Tensor:
        """Return what the network is trained to give at alpha-bar `a`."""

    @abstractmethod
    def error_ratio(self, snr: Tensor) -> Tensor:
        """Return how many times the squared error of x0 the squared error of the network's own target is."""


class EpsDenoiser(Denoiser):
    """The network predicts the noise (Ho et al. 2006.11239 Eq. 14; Stable Diffusion 1.x)."""

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`x0 = x - sigma * eps`."""
        return torch.ones_like(sigma), -sigma, 1 / (sigma**2 + 1) ** 0.5

    def target(self, x0: Tensor, noise: Tensor, a: Tensor) -> Tensor:  # noqa: ARG002 (the signature all denoisers share)
        """`eps`."""
        return noise

    def error_ratio(self, snr: Tensor) -> Tensor:
        """`eps` is off by `sqrt(snr)` times as much as `x0`."""
        return snr


class VDenoiser(Denoiser):
    """The network predicts the velocity (Salimans & Ho 2202.00512 appendix D; Stable Diffusion 2.x, Glyph)."""

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`x0 = x / (sigma^2 + 1) - sigma / sqrt(sigma^2 + 1) * v`."""
        c_skip, c_in = 1 / (sigma**2 + 1), 1 / (sigma**2 + 1) ** 0.5
        return c_skip, -sigma * c_in, c_in

    def target(self, x0: Tensor, noise: Tensor, a: Tensor) -> Tensor:
        """`v = sqrt(a) * noise - sqrt(1 - a) * x0`."""
        return a.sqrt() * noise - (1 - a).sqrt() * x0

    def error_ratio(self, snr: Tensor) -> Tensor:
        """`v` is off by `sqrt(snr + 1)` times as much as `x0`."""
        return snr + 1


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


DENOISERS: dict[str, type[Denoiser]] = {
    "epsilon": EpsDenoiser,
    "v_prediction": VDenoiser,
}
"""By the prediction's name in a model's spec (diffusers' `prediction_type`)."""
