"""Where the randomness of a picture comes from: its own seed, whatever else is in the batch and wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from impasto.errors import InvalidInput


class ImageNoise:
    """Standard normal noise, one CPU generator a picture.

    Picture k of a batch gets the same numbers as it would alone, on every device. torch's CPU generator (a Mersenne
    Twister) reads the low 32 bits of a seed only: seeds that agree in them give the same noise.

    Args:
        seeds: (B) one a picture, each in [0, 2**64).
        shape: (C, H, W) of one picture.

    Raises:
        InvalidInput: there is no seed, or one out of range.
    """

    def __init__(self, seeds: Sequence[int], shape: Sequence[int]) -> None:
        wrong = [seed for seed in seeds if not 0 <= seed < 2**64]
        if wrong or not seeds:
            raise InvalidInput(f"Noise needs one seed or more, each from 0 to 2**64 - 1, not {wrong or 'none'}.")
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self._shape = tuple(shape)

    def initial(self) -> Tensor:
        """Return (B, C, H, W) float32 on the CPU, the noise that sampling starts from; to be asked for first."""
        return self._draw()

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:  # noqa: ARG002 (other sources depend on the interval)
        """Return (B, C, H, W) float32 on the CPU, fresh noise for the step from `sigma` to `sigma_next`."""
        return self._draw()

    def _draw(self) -> Tensor:
        return torch.stack([torch.randn(self._shape, generator=generator) for generator in self._generators])
