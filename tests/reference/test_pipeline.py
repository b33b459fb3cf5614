"""The whole pipeline against diffusers' StableDiffusionPipeline, from the folder that Impasto wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import impasto
from impasto.diffusion.noise import ImageNoise
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule
from impasto.weights.checkpoint import About
from impasto.weights.load import save_folder
from tests.weights import tiny

PROMPT, NEGATIVE, STEPS, GUIDANCE, SEED = "a red fox on a hill", "dark", 10, 5.0, 11


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / request.param
    save_folder(path, tiny.networks(request.param), About(name="tiny"))
    return path


def trailing(schedule: NoiseSchedule, steps: int) -> torch.Tensor:
    """Every (1000 / steps)-th level from the last one on, as DDIM's own steps are counted with trailing spacing."""
    t = torch.arange(len(schedule.sigmas), 0, -len(schedule.sigmas) / steps).round() - 1
    return torch.cat([schedule.sigma(t), torch.zeros(1)])


SAMPLERS = {
    # diffusers' DDIM counts its steps in a way of its own; the same levels are given to both.
    ("ddim", "trailing"): (
        diffusers.DDIMScheduler,
        {"timestep_spacing": "trailing", "set_alpha_to_one": True, "clip_sample": False},
    ),
    ("euler", "karras"): (
        diffusers.EulerDiscreteScheduler,
        {"timestep_spacing": "linspace", "use_karras_sigmas": True},
    ),
    ("dpmpp_2m", "karras"): (
        diffusers.DPMSolverMultistepScheduler,
        {"use_karras_sigmas": True, "final_sigmas_type": "zero", "lower_order_final": False, "euler_at_final": True},
    ),
}


def theirs(folder: Path, scheduler: type, options: dict[str, Any]) -> np.ndarray:
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **options)  # type: ignore[attr-defined]
    return pipe(
        PROMPT,
        negative_prompt=NEGATIVE,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        height=64,
        width=64,
        latents=ImageNoise([SEED], (4, 32, 32)).initial(),
        output_type="np",
    ).images[0]


# Some schedulers with numpy 2.
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
@pytest.mark.parametrize(("sampler", "schedule"), SAMPLERS)
def test_the_same_picture_as_diffusers(
    folder: Path, sampler: str, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIGMAS, "trailing", trailing)
    model = impasto.load(folder)
    (picture,) = model.generate(
        PROMPT,
        negative_prompt=NEGATIVE,
        steps=STEPS,
        guidance=GUIDANCE,
        seed=SEED,
        sampler=sampler,
        schedule=schedule,
    )
    ours = np.asarray(picture.image).astype(int)
    other = (theirs(folder, *SAMPLERS[sampler, schedule]) * 255).round().astype(int)
    assert ours.std() > 10  # there is something to compare
    assert abs(ours - other).max() <= 2
