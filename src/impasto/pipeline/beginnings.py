"""What sampling begins with: noise, noise between two seeds, or a picture with noise on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.diffusion.brownian import BrownianNoise, BrownianTree
from impasto.diffusion.noise import NOISES, BatchNoise, NoiseSource, Variation, cuda_numbers, torch_numbers
from impasto.pictures.canvas import Canvas, latent_mask
from impasto.pipeline.latents import Latents, pixels
from impasto.pipeline.passes import Pass
from impasto.recipe import Draw, Recipe
from impasto.rights.binding import code_of
from impasto.rights.watermark import Marked

Denoise = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Beginning:
    """A picture that sampling begins with.

    Attributes:
        latents: (1, C, H, W) or (B, C, H, W), clean.
        paint: (1, 1, H, W), 1 where to paint and 0 where to keep `latents`; None to paint everywhere.
        seen: (1, 1 + C, H, W), what an inpainting model sees besides: the mask and the latents of what is not masked.
        anew: whether nothing of the picture is left in the first noise.
    """

    latents: Tensor
    paint: Tensor | None = None
    seen: Tensor | None = None
    anew: bool = False

    def kept(self, denoise: Denoise) -> Denoise:
        """Return `denoise`, its x0 replaced by the picture's own where that is kept.

        A deterministic sampler then takes what is kept to `latents + sigma * noise` at every step, which is where
        diffusers' pipelines put it.
        """
        paint = self.paint
        if paint is None or self.seen is not None:  # an inpainting model keeps it by itself
            return denoise
        return lambda x, sigma: paint * denoise(x, sigma) + (1 - paint) * self.latents


def from_canvas(canvas: Canvas, recipes: Sequence[Recipe], latents: Latents, *, inpaints: bool) -> Beginning:
    """Return the beginning that `canvas` is for `recipes`.

    Args:
        canvas: what to paint on.
        recipes: of the batch.
        latents: of the model.
        inpaints: whether the model sees the mask and what is not masked.
    """
    recipe = recipes[0]
    z = latents.of(pixels(canvas.image), recipe.vae_tile)
    if canvas.mask is None:
        return Beginning(z)
    paint = torch.from_numpy(latent_mask(canvas.mask, latents.factor))[None, None].to(z.device)
    if recipe.mask and recipe.mask.content in ("noise", "nothing"):
        noise = noise_of(recipes, (z.shape[1], z.shape[2], z.shape[3]), latents.factor).initial().to(z.device)
        z = (1 - paint) * z + paint * noise * (recipe.mask.content == "noise")
    if not inpaints:
        return Beginning(z, paint)
    visible = pixels(canvas.image) * (1 - pixels(canvas.mask).add(1).div(2)[:, :1])  # 0 is grey
    seen = torch.cat([paint, latents.of(visible, recipe.vae_tile)], dim=1)
    return Beginning(z, paint, seen, anew=recipe.start is not None and recipe.start.strength == 1)


PATHS = ("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde")
"""Samplers that take the noise of their steps from Brownian paths in k-diffusion, A1111 and ComfyUI."""


def noise_of(recipes: Sequence[Recipe], shape: tuple[int, int, int], factor: int) -> NoiseSource:
    """Return the noise (B, C, H, W) that the `recipes` name, varied as they say; `factor` is pixels a latent."""
    noise = _unmarked(recipes, shape, factor)
    return Marked(noise, [code_of(recipe) for recipe in recipes]) if recipes[0].soft_binding else noise


def _unmarked(recipes: Sequence[Recipe], shape: tuple[int, int, int], factor: int) -> NoiseSource:
    first = recipes[0]
    if first.noise == "comfyui":
        return Rows([_drawn(recipe, shape) for recipe in recipes])
    variations = [_variation(recipe, factor) for recipe in recipes]
    return NOISES[first.noise]([recipe.seed for recipe in recipes], shape, variations, first.noise_delta)


def noise_for(part: Pass, recipes: Sequence[Recipe], channels: int, factor: int) -> NoiseSource:
    """Return the noise (B, `channels`, H, W) of `part`, one of the passes of `recipes`."""
    shape, name = (channels, part.height, part.width), recipes[0].noise
    source = noise_of(recipes, shape, factor)
    if name == "image" or part.sampler not in PATHS:
        return source
    low = part.sigmas[part.sigmas > 0].min().item()
    if name == "comfyui":
        return Rows([_drawn_path(recipe, shape, low, part.sigmas[0].item()) for recipe in recipes])
    numbers = (cuda_numbers if name == "a1111-nv" else torch_numbers)((1, *shape))
    return BrownianNoise(source, [BrownianTree(low, part.highest, recipe.seed, numbers) for recipe in recipes])


class Rows(NoiseSource):
    """Several sources as one, whose pictures are theirs one after the other."""

    def __init__(self, sources: Sequence[NoiseSource]) -> None:
        self._sources = sources

    def initial(self) -> Tensor:
        """Return (B, C, H, W) float32 on the CPU, the noise that sampling starts from; to be asked for first."""
        return torch.cat([source.initial() for source in self._sources])

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Return (B, C, H, W) float32 on the CPU, fresh noise for the step from `sigma` to `sigma_next`."""
        return torch.cat([source(sigma, sigma_next) for source in self._sources])


def _drawn(recipe: Recipe, shape: tuple[int, int, int]) -> BatchNoise:
    draw = recipe.draw or Draw()
    return BatchNoise(recipe.seed, shape, draw.count, [draw.row])


def _drawn_path(recipe: Recipe, shape: tuple[int, int, int], low: float, high: float) -> BrownianNoise:
    draw = recipe.draw or Draw()
    tree = BrownianTree(low, high, recipe.seed, torch_numbers((draw.count, *shape)))
    return BrownianNoise(_drawn(recipe, shape), [tree], [draw.row])


def _variation(recipe: Recipe, factor: int) -> Variation | None:
    given = recipe.variation
    if given is None:
        return None
    size = (given.height // factor, given.width // factor) if given.width and given.height else None
    return Variation(given.seed, given.strength, size)
