"""Glyph in diffusers: the pipeline that everyone has draws the picture that Impasto draws."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

import impasto
from impasto.diffusion.noise import ImageNoise

FOLDER = Path(impasto.__file__).parent / "glyph"


# Some schedulers with numpy 2.
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
@pytest.mark.parametrize(("prompt", "seed"), [("red apple", 1), ("owl on a blue background", 2)])
def test_the_same_picture_as_diffusers(prompt: str, seed: int) -> None:
    (picture,) = impasto.load("glyph").generate(prompt, seed=seed, steps=20, guidance=3.0, sampler="euler")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(FOLDER, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    options = {"timestep_spacing": "linspace", "use_karras_sigmas": True}
    pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config, **options)
    theirs = pipe(
        prompt,
        num_inference_steps=20,
        guidance_scale=3.0,
        latents=ImageNoise([seed], (16, 8, 8)).initial(),
        output_type="np",
    ).images[0]
    assert theirs.shape == (128, 128, 3)
    assert abs(np.asarray(picture.image).astype(int) - (theirs * 255).round().astype(int)).max() <= 2
