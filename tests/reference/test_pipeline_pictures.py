"""Pictures from pictures against diffusers' image-to-image and inpainting pipelines, where both mean the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

import impasto
from impasto.pictures.origin import pixels_digest
from impasto.pipeline import Model
from impasto.weights.checkpoint import About
from impasto.weights.load import save_folder
from tests.pipeline.inpainting import inpainting
from tests.weights import tiny

SETTINGS: dict[str, Any] = {"steps": 10, "guidance": 5.0, "seed": 11, "schedule": "karras"}
PROMPT, NEGATIVE = "a red fox on a hill", "dark"
SCHEDULERS = {
    "euler": (diffusers.EulerDiscreteScheduler, {"timestep_spacing": "linspace", "use_karras_sigmas": True}),
    "dpmpp_2m": (
        diffusers.DPMSolverMultistepScheduler,
        {"use_karras_sigmas": True, "final_sigmas_type": "zero", "lower_order_final": False, "euler_at_final": True},
    ),
}
PICTURE = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
MASK = Image.new("L", (64, 64))
MASK.paste(255, (16, 24, 48, 56))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    path = tmp_path_factory.mktemp("models")
    save_folder(path / "plain", tiny.networks(), About(name="plain"))
    save_folder(path / "inpainting", inpainting(), About(name="inpainting"))
    return {name: path / name for name in ("plain", "inpainting")}


@pytest.fixture(autouse=True)
def _most_likely_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Impasto encodes to the most likely latents, diffusers to likely ones by chance."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mean)  # noqa: ARG005


def theirs(pipeline: Any, folder: Path, sampler: str, **inputs: Any) -> np.ndarray:
    pipe = pipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    scheduler, options = SCHEDULERS[sampler]
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **options)
    image = pipe(
        PROMPT,
        negative_prompt=NEGATIVE,
        num_inference_steps=SETTINGS["steps"],
        guidance_scale=SETTINGS["guidance"],
        generator=torch.Generator("cpu").manual_seed(SETTINGS["seed"]),
        output_type="np",
        **inputs,
    ).images[0]
    return (image * 255).round().astype(int)


def ours(model: Model, sampler: str, **choices: Any) -> np.ndarray:
    recipe = model.recipe(PROMPT, negative_prompt=NEGATIVE, sampler=sampler, **SETTINGS, **choices)
    *_, last = model.steps(recipe, sources=[PICTURE, MASK])
    return np.asarray(model.decode(last.latents)[0]).astype(int)


# Some schedulers with numpy 2.
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize("strength", [0.35, 0.6, 1.0])
def test_image_to_image(folders: dict[str, Path], sampler: str, strength: float) -> None:
    start = {"image": pixels_digest(PICTURE), "strength": strength}
    here = ours(impasto.load(folders["plain"]), sampler, start=start)
    there = theirs(
        diffusers.StableDiffusionImg2ImgPipeline, folders["plain"], sampler, image=PICTURE, strength=strength
    )
    assert here.std() > 5
    assert abs(here - there).max() <= 2


@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize(("kind", "strength"), [("plain", 0.6), ("inpainting", 0.6), ("inpainting", 1.0)])
def test_inpainting(folders: dict[str, Path], sampler: str, kind: str, strength: float) -> None:
    start = {"image": pixels_digest(PICTURE), "strength": strength}
    here = ours(impasto.load(folders[kind]), sampler, start=start, mask={"image": pixels_digest(MASK), "blur": 0})
    there = theirs(
        diffusers.StableDiffusionInpaintPipeline,
        folders[kind],
        sampler,
        image=PICTURE,
        mask_image=MASK,
        strength=strength,
        height=64,
        width=64,
    )
    assert here.std() > 5
    assert abs(here - there).max() <= 2
