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
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from impasto.diffusion.denoisers import DENOISERS
from impasto.diffusion.samplers import SAMPLERS, Step
from impasto.pictures.formats import open_image
from impasto.pipeline.beginnings import noise_of
from impasto.pipeline.latents import pixels
from impasto.pipeline.passes import passes
from impasto.pipeline.steering import network, steered
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
        return Finding("mark", "holds", f"The mark of the recipe, {chance}. That is evidence, and no proof.")
    return Finding("mark", "changed", f"Not the mark of the recipe, but {chance}: it is another picture.")


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
    height, width = (side * model.spec.vae.factor for side in latents.shape[2:])
    choices: dict[str, Any] = {
        "sampler": "euler",
        "schedule": "karras",
        "steps": steps,
        "guidance": 1.0,
        "negative_prompt": "",
    }
    recipe = model.recipe("", seed=0, width=width, height=height, **choices)
    (part,) = passes(recipe, model.schedule, model.spec.vae.factor)
    called = network(model.networks.unet, next(model.networks.unet.parameters()).dtype, None, None)
    denoise = steered(DENOISERS[model.spec.prediction](called, model.schedule), (recipe,), part, model.words)
    rising = part.sigmas[:-1].flip(0)  # without 0, from which no way leads back
    noise = noise_of((recipe,), (latents.shape[1], part.height, part.width), model.spec.vae.factor)
    yield from SAMPLERS["euler"](denoise, latents, rising, noise)
