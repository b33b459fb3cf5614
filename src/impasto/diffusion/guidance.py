"""How strongly the words steer: wrappers that turn a conditional denoiser into the `(x, sigma) -> x0` of a sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
        positive = _each(self.context, len(x))
        if self.scale == 1:
            return self.denoiser(x, sigma, positive)
        context = torch.cat([_each(self.negative, len(x)), positive])
        x0_negative, x0 = self.denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), context).chunk(2)
        return x0_negative + self.scale * (x0 - x0_negative)


def _each(context: Tensor, pictures: int) -> Tensor:
    if len(context) not in (1, pictures):
        raise InvalidInput(f"{len(context)} contexts for {pictures} pictures. Give one for all, or one for each.")
    return context.expand(pictures, -1, -1)
