"""The first noise of a picture, looked for by going its way back: how a soft binding is found.

The probability-flow ODE is followed from the picture to noise by Euler's method, which is DDIM inversion (Song et al.
2010.02502, section 4.3; Mokady et al. 2211.09794, section 3.2). Nobody has to know the prompt: as in Yang et al.
2404.04956, section 3.4, none is used, and no guidance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from impasto.diffusion.denoisers import DENOISERS
from impasto.diffusion.samplers import SAMPLERS, Step
from impasto.diffusion.schedules import SIGMAS
from impasto.pictures.formats import open_image
from impasto.pipeline.latents import pixels
from impasto.recipe import MAX_SIDE, SIDE_MULTIPLE, Recipe
from impasto.rights import watermark
from impasto.rights.binding import code_of
from impasto.rights.report import Finding, Report
from impasto.rights.watermark import Mark

if TYPE_CHECKING:
    from impasto.pipeline.model import Model

STEPS = 50


def looked_for(report: Report, path: Path, model: Model, recipe: Recipe | None) -> Report:
    """Return `report` on the picture at `path` with what is found of a mark in its noise.

    Args:
        report: so far.
        path: of the picture.
        model: that is thought to have made it.
        recipe: whose mark is expected; None where that is not known.
    """
    size = (recipe.width, recipe.height) if recipe else None
    found = finding(find(model, open_image(path), size), recipe)
    return replace(report, findings=(*report.findings, found))


def finding(mark: Mark, recipe: Recipe | None) -> Finding:
    """Return what `mark` tells of a picture that may be of `recipe`."""
    if not mark.found:
        text = "No mark is found in its noise: it has none, another model made it, or it was changed too much."
        return Finding("mark", "unknown", text)
    chance = f"{mark} is in its noise ({mark.agreement:.0%} of the signs; by accident {mark.chance:.0e} at most)"
    if recipe is None or not recipe.soft_binding:
        return Finding("mark", "unknown", f"The mark {chance}. Give the recipe or picture it may be of: --original.")
    if mark.code == code_of(recipe):
        return Finding("mark", "holds", f"The mark {chance}, and it is its recipe's. That is evidence, and no proof.")
    return Finding("mark", "changed", f"The mark {chance}, and it is not its recipe's: it is another picture.")


def find(model: Model, image: Image.Image, size: tuple[int, int] | None = None, steps: int = STEPS) -> Mark:
    """Return the mark that fits `image` best; `Mark.found` says whether that is one.

    Args:
        model: that is thought to have made it.
        image: as it was found.
        size: (width, height) that it was made in, to which it is enlarged or reduced; by itself its own.
        steps: on the way back to noise.
    """
    *_, last = back(model, _fitted(model, image, size), steps)
    return watermark.read(last.x[0].cpu())


def _fitted(model: Model, image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """Return `image` in a size that the model makes."""
    unit = math.lcm(model.spec.vae.factor, SIDE_MULTIPLE)
    width, height = (min(max(side // unit, 1) * unit, MAX_SIDE) for side in size or image.size)
    image = image.convert("RGB")
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


@torch.inference_mode()
def back(model: Model, image: Image.Image, steps: int = STEPS) -> Iterator[Step]:
    """Follow `image`, whose sides are multiples of the model's factor, back to the noise that it came from.

    The `x` of the last step is (1, C, H, W), that noise times the highest noise level.
    """
    yield from back_from(model, model.latents.of(pixels(image).to(model.device)), steps)


@torch.inference_mode()
def back_from(model: Model, latents: Tensor, steps: int = STEPS) -> Iterator[Step]:
    """Follow `latents` (1, C, H, W) back to noise; see `back`."""
    unet, dtype = model.networks.unet, next(model.networks.unet.parameters()).dtype
    context = _no_words(model)

    def network(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        out: Tensor = unet(x.to(dtype), t, context.to(dtype))
        return out.float()

    denoiser = DENOISERS[model.spec.prediction](network, model.schedule)
    rising = SIGMAS["karras"](model.schedule, steps)[:-1].flip(0)  # without 0, from which no way leads back
    yield from SAMPLERS["euler"](lambda x, sigma: denoiser(x, sigma, context), latents, rising, _none)


def _no_words(model: Model) -> Tensor:
    """Return what the text encoder makes of an empty prompt, (1, T, D)."""
    encoder, tokenizer = model.networks.text_encoder, model.networks.tokenizer
    ids = tokenizer.pad(tokenizer.encode(""), encoder.config.max_position_embeddings)
    context: Tensor = encoder(torch.tensor([ids], device=model.device))
    return context


def _none(sigma: float, sigma_next: float) -> Tensor:
    """Stand in for the noise of steps, of which Euler's method has none."""
    raise NotImplementedError(sigma, sigma_next)
