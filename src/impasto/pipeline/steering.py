"""From networks and prompts to the `(x, sigma) -> x0` that a sampler asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from impasto.diffusion.denoisers import Denoiser, Network
from impasto.diffusion.guidance import Guidance, Rescaled, Within
from impasto.diffusion.schedules import NoiseSchedule
from impasto.models.specs import ModelSpec
from impasto.models.unet import UNet
from impasto.pipeline.passes import Pass
from impasto.pipeline.seamless import meeting
from impasto.pipeline.words import Reading
from impasto.prompts.composition import Composed
from impasto.prompts.conditioning import Conditioning
from impasto.recipe import Recipe

A1111_LAST = 4.8973451890853435e-08
"""The last alpha-bar that A1111's and ComfyUI's zero terminal SNR leaves."""


def trained_levels(spec: ModelSpec) -> NoiseSchedule:
    """Return the noise levels that the UNet of `spec` was trained on."""
    return NoiseSchedule.scaled_linear(spec.beta_start, spec.beta_end, spec.train_timesteps)


def levels_of(recipe: Recipe, trained: NoiseSchedule) -> NoiseSchedule:
    """Return the noise levels that `recipe` takes the network's, which were `trained`, for."""
    if recipe.zero_snr is None:
        return trained
    return trained.to_zero_snr(A1111_LAST) if recipe.zero_snr == "a1111" else trained.to_zero_snr()


def network(unet: UNet, dtype: torch.dtype, seamless: str | None, seen: Tensor | None) -> Network:
    """Return `unet` as denoisers call it: in float32 outside, whatever it is inside.

    Args:
        unet: the network.
        dtype: of its weights.
        seamless: axes along which the picture's ends meet.
        seen: (1, 1 + C, H, W) what an inpainting model sees besides, or None.
    """

    def called(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        if seen is not None:
            x = torch.cat([x, seen.expand(len(x), -1, -1, -1)], dim=1)
        with meeting(seamless):
            out: Tensor = unet(x.to(dtype), t, context)
        return out.float()

    return called


def steered(
    denoiser: Denoiser, recipes: Sequence[Recipe], part: Pass, read: Callable[[Reading], Conditioning]
) -> Guidance:
    """Return the guided denoiser of `part`, one of the passes of `recipes`; `read` knows what prompts ask for."""
    recipe, interval = recipes[0], recipes[0].guidance_interval
    prompts, negatives = zip(*(map(read, _readings(each, part)) for each in recipes), strict=True)
    composed = Composed(denoiser, prompts, negatives, recipe.guidance, part.sigmas)
    guided: Guidance = composed
    if recipe.guidance_rescale:
        guided = Rescaled(composed, denoiser.scalings, recipe.guidance_rescale)
    if interval:
        guided = Within(guided, interval.low, math.inf if interval.high is None else interval.high)
    return guided


def _readings(recipe: Recipe, part: Pass) -> tuple[Reading, Reading]:
    """Return how the prompt and the negative prompt of `recipe` are read in `part`."""
    prompt, negative = part.prompt, part.negative_prompt
    return (
        Reading.of(recipe, recipe.prompt if prompt is None else prompt, part.run, part.adapters),
        Reading.of(
            recipe, recipe.negative_prompt if negative is None else negative, part.run, part.adapters, negative=True
        ),
    )
