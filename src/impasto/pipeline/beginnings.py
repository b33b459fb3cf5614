"""What sampling begins with: noise, noise between two seeds, or a picture with noise on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from impasto.diffusion.noise import NOISES, ImageNoise, Variation
from impasto.errors import InvalidRecipe
from impasto.recipe import Counting, Recipe


@dataclass(frozen=True, eq=False)
class Beginning:
    """A picture that sampling begins with.

    Attributes:
        latents: (1, C, H, W) or (B, C, H, W), clean.
        paint: (1, 1, H, W), 1 where to paint and 0 where to keep `latents`; None to paint everywhere.
        seen: (1, 1 + C, H, W), what an inpainting model sees besides: the mask and the latents of what is not masked.
    """

    latents: Tensor
    paint: Tensor | None = None
    seen: Tensor | None = None

    def kept(self, denoise: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """Return `denoise`, its x0 replaced by the picture's own where that is kept.

        A deterministic sampler then takes what is kept to `latents + sigma * noise` at every step, which is where
        diffusers' pipelines put it.
        """
        paint = self.paint
        if paint is None or self.seen is not None:  # an inpainting model keeps it by itself
            return denoise
        return lambda x, sigma: paint * denoise(x, sigma) + (1 - paint) * self.latents


def remaining(levels: Callable[[int], Tensor], steps: int, strength: float, counting: Counting) -> Tensor:
    """Return the sigmas of the steps that `strength` leaves of `steps`; see `FromPicture.counting`.

    Raises:
        InvalidRecipe: it leaves none.
    """
    below = min(strength, 0.999)
    counts = {
        "diffusers": (steps, min(int(steps * strength), steps)),
        "a1111": (steps, int(below * steps) + 1),
        "exact": (int(steps / below), steps),
    }
    total, run = counts[counting]
    if not run:
        raise InvalidRecipe(f"A strength of {strength} leaves none of {steps} steps. Use more of either.")
    sigmas = levels(total)
    return sigmas[max(len(sigmas) - 1 - run, 0) :]


def noise_of(recipes: Sequence[Recipe], shape: tuple[int, int, int], factor: int) -> ImageNoise:
    """Return the noise (B, C, H, W) that the `recipes` name, varied as they say; `factor` is pixels a latent."""
    variations = [_variation(recipe, factor) for recipe in recipes]
    return NOISES[recipes[0].noise]([recipe.seed for recipe in recipes], shape, variations)


def _variation(recipe: Recipe, factor: int) -> Variation | None:
    given = recipe.variation
    if given is None:
        return None
    size = (given.height // factor, given.width // factor) if given.width and given.height else None
    return Variation(given.seed, given.strength, size)


def pixels(image: Image.Image) -> Tensor:
    """Return (1, 3, H, W) float32 in [-1, 1]."""
    levels = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32))
    return (levels / 127.5 - 1).permute(2, 0, 1)[None]
