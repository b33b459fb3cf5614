"""What A1111's API answers: its lists, what was made, and how far a job is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import impasto
from impasto.diffusion import names
from impasto.pictures import infotext
from impasto.pictures.infotext import Hashes
from impasto.recipe import Recipe
from impasto.server.dialects.a1111 import MODES, UPSCALERS, ImageSaid, Said, ignored, schedule_name
from impasto.server.dialects.a1111_options import Checkpoint


def samplers() -> list[dict[str, Any]]:
    """Return the rows of `/samplers`."""
    aliases = {name: [short for short, of in names.A1111_ALIASES.items() if of == name] for name in names.A1111}
    return [{"name": name, "aliases": aliases[name], "options": {}} for name in names.A1111]


def schedulers() -> list[dict[str, Any]]:
    """Return the rows of `/schedulers`."""
    rest = {"aliases": None, "default_rho": -1, "need_inner_model": False}
    labels = ["Automatic", *names.A1111_SCHEDULES]
    return [{"name": schedule_name(label), "label": label, **rest} for label in labels]


def upscalers() -> list[dict[str, Any]]:
    """Return the rows of `/upscalers`."""
    rest = {"model_name": None, "model_path": None, "model_url": None, "scale": 4}
    return [{"name": name, **rest} for name in UPSCALERS]


EMBEDDING = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": None, "vectors": None}
"""What `/embeddings` says of each; its file is not read for that."""


def lora(name: str, trigger: str | None, base: str | None) -> dict[str, Any]:
    """Return the row of `/loras` for an adapter; its place is nobody's business."""
    told = {"modelspec.trigger_phrase": trigger, "ss_base_model_version": base}
    known = {key: value for key, value in told.items() if value}
    return {"name": name, "alias": name, "path": f"{name}.safetensors", "metadata": known}


def latent_upscale_modes() -> list[dict[str, str]]:
    """Return the rows of `/latent-upscale-modes`."""
    return [{"name": name} for name in MODES]


def told(
    said: Said, recipes: Sequence[Recipe], model: Checkpoint, hashes: Sequence[Hashes], job: str, made: datetime
) -> dict[str, Any]:
    """Return the `info` of an answer: what was made, in A1111's words; what is ours is under `impasto`.

    Args:
        said: by the client.
        recipes: of the pictures, at least one.
        model: that made them.
        hashes: by what A1111 knows the files that each was made with.
        job: id.
        made: when.
    """
    first = recipes[0]
    seeds = [recipe.seed for recipe in recipes]
    subseeds = [recipe.variation.seed if recipe.variation else -1 for recipe in recipes]
    given = first.start or first.hires
    return {
        "prompt": first.prompt,
        "all_prompts": [recipe.prompt for recipe in recipes],
        "negative_prompt": first.negative_prompt,
        "all_negative_prompts": [recipe.negative_prompt for recipe in recipes],
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": subseeds[0],
        "all_subseeds": subseeds,
        "subseed_strength": first.variation.strength if first.variation else 0,
        "seed_resize_from_w": (first.variation and first.variation.width) or 0,
        "seed_resize_from_h": (first.variation and first.variation.height) or 0,
        "width": first.width,
        "height": first.height,
        "sampler_name": infotext.SAMPLER_NAMES.get(first.sampler, first.sampler),
        "cfg_scale": first.guidance,
        "steps": first.steps,
        "batch_size": said.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": model.name,
        "sd_model_hash": hashes[0].model or model.short,
        "sd_vae_name": hashes[0].vae_name,
        "sd_vae_hash": hashes[0].vae,
        "denoising_strength": given.strength if given else None,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": [infotext.write(*each) for each in zip(recipes, hashes, strict=True)],
        "styles": [],
        "job_timestamp": made.strftime("%Y%m%d%H%M%S"),
        "clip_skip": first.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": f"Impasto {impasto.__version__}",
        "impasto": {"job": job, "ignored": ignored(said)},
    }


def echoed(said: Said) -> dict[str, Any]:
    """Return the `parameters` of an answer: what was understood, without what was not, and pictures where asked for."""
    hidden = set() if isinstance(said, ImageSaid) and said.include_init_images else {"init_images", "mask"}
    return said.model_dump(include=set(type(said).model_fields) - hidden)


@dataclass(frozen=True)
class Standing:
    """How far a job is, for `/progress`; all zero when there is none.

    Attributes:
        job: its id.
        progress: 0 to 1.
        eta_seconds: that are left.
        step: of the pictures that are being made.
        steps: of those.
        picture: which picture of the job that is, from 0.
        pictures: how many the job is to make.
        interrupted: whether the caller has interrupted it.
        began: when it was asked for.
    """

    job: str = ""
    progress: float = 0.0
    eta_seconds: float = 0.0
    step: int = 0
    steps: int = 0
    picture: int = 0
    pictures: int = 0
    interrupted: bool = False
    began: datetime | None = None

    def listed(self, preview: str | None) -> dict[str, Any]:
        """Return the answer of `/progress`; `preview` is a picture in base64."""
        return {
            "progress": self.progress,
            "eta_relative": self.eta_seconds,
            "state": {
                "skipped": False,
                "interrupted": self.interrupted,
                "stopping_generation": False,
                "job": f"Picture {self.picture + 1} out of {self.pictures}" if self.pictures else "",
                "job_count": self.pictures,
                "job_timestamp": self.began.strftime("%Y%m%d%H%M%S") if self.began else "0",
                "job_no": self.picture,
                "sampling_step": self.step,
                "sampling_steps": self.steps,
            },
            "current_image": preview,
            "textinfo": None,
            "current_task": self.job or None,
        }


def parameters(text: str) -> dict[str, str]:
    """Return the `parameters` of `/png-info` for an infotext: its pairs, with the prompts, and sizes taken apart."""
    found = infotext.read(text)
    if found is None:
        return {}
    pairs = {"Prompt": found.prompt, "Negative prompt": found.negative_prompt, **found.parameters}
    for key, value in found.parameters.items():
        if match := re.fullmatch(r"(\d+)x(\d+)", value):
            del pairs[key]
            pairs |= {f"{key}-1": match[1], f"{key}-2": match[2]}
    return pairs
