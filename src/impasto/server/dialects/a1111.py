"""What clients of A1111's web UI say, in our terms: requests, names and options; no network and no pictures made here.

Facts of `modules/api` and `modules/processing.py` of AUTOMATIC1111/stable-diffusion-webui 1.10. Three rules: what
a client leaves out is the model's own; what would change the picture and cannot be done is refused by name; what
changes no picture is passed over, and told in the answer.
"""

from __future__ import annotations

import inspect
import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

import impasto
from impasto.diffusion import names
from impasto.diffusion.samplers import SAMPLERS
from impasto.errors import InvalidInput, NotFound
from impasto.pictures import infotext
from impasto.recipe import Recipe
from impasto.server.dialects.images import Framing

MODES = {
    "Latent": "latent",
    "Latent (bicubic)": "latent-bicubic",
    "Latent (nearest)": "latent-nearest",
}
"""A1111's names of the ways to enlarge latents, and ours."""

UPSCALERS = {"None": "lanczos", "Lanczos": "lanczos"}
"""The same for pixels; A1111 resizes with Lanczos when it is told to use none."""

CONTENTS = ("fill", "original", "noise", "nothing")
"""Our names for `inpainting_fill` 0 to 3."""

RESIZE_MODES: tuple[Framing, ...] = ("stretch", "crop", "fill")
"""Our names for `resize_mode` 0 to 2."""

NOISES = {"GPU": "a1111-nv", "NV": "a1111-nv", "CPU": "a1111-cpu"}
"""Ours for `randn_source`; NV is what a CUDA device draws, on any machine."""

FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
"""Ours for `samples_format`."""

HARMLESS = frozenset(
    {
        "enable_pnginfo", "grid_save", "img2img_fix_steps", "live_previews_enable",
        "return_grid", "return_mask", "return_mask_composite", "samples_save", "save_images_add_number",
        "save_images_before_face_restoration", "save_to_dirs", "sd_checkpoint_cache", "sd_checkpoint_hash",
        "sd_checkpoints_limit", "sd_vae_checkpoint_cache", "send_seed", "send_size", "show_progress_every_n_steps",
        "show_progressbar",
    }
)  # fmt: skip
"""Settings that clients send and that change no picture here."""

NO_VAE = ("", "automatic", "none")
AUTOMATIC = ("", "automatic", "use same scheduler")
SAME = ("", "use same checkpoint", "use same sampler")
LEAST_STRENGTH = 1e-6
"""A1111 makes one step of `denoising_strength` 0; so does any strength this small."""


class Said(BaseModel):
    """The body of `/sdapi/v1/txt2img`; keys that are not here are passed over, as A1111 does."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] | None = None
    seed: int | None = -1
    subseed: int | None = -1
    subseed_strength: float = Field(0, ge=0, le=1)
    seed_resize_from_h: int = 0
    seed_resize_from_w: int = 0
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    batch_size: int = Field(1, ge=1, le=1000)
    n_iter: int = Field(1, ge=1, le=1000)
    steps: int | None = None
    cfg_scale: float | None = None
    width: int | None = None
    height: int | None = None
    restore_faces: bool | None = False
    tiling: bool | None = False
    eta: float | None = None
    s_churn: float | None = None
    s_tmax: float | None = None
    s_tmin: float | None = None
    s_noise: float | None = None
    s_min_uncond: float | None = None
    denoising_strength: float | None = Field(None, ge=0, le=1)
    override_settings: dict[str, Any] | None = None
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    clip_skip: int | None = None
    enable_hr: bool = False
    firstphase_width: int | None = 0
    firstphase_height: int | None = 0
    hr_scale: float = Field(2.0, gt=0, le=100)
    hr_upscaler: str | None = None
    hr_second_pass_steps: int | None = 0
    hr_resize_x: int | None = 0
    hr_resize_y: int | None = 0
    hr_checkpoint_name: str | None = None
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_prompt: str | None = ""
    hr_negative_prompt: str | None = ""
    script_name: str | None = None
    script_args: list[Any] | None = None
    alwayson_scripts: dict[str, Any] | None = None
    send_images: bool = True
    save_images: bool = False
    infotext: str | None = None
    force_task_id: str | None = Field(None, max_length=200)

    @property
    def settings(self) -> dict[str, Any]:
        """`override_settings` without those that are null, which SillyTavern leaves so."""
        return {key: value for key, value in (self.override_settings or {}).items() if value is not None}


class ImageSaid(Said):
    """The body of `/sdapi/v1/img2img`."""

    init_images: list[str] = Field(min_length=1)
    resize_mode: int = Field(0, ge=0, le=3)
    denoising_strength: float | None = Field(0.75, ge=0, le=1)
    image_cfg_scale: float | None = None
    mask: str | None = None
    mask_blur: float | None = None
    mask_blur_x: float = 4
    mask_blur_y: float = 4
    inpainting_fill: int = Field(0, ge=0, le=3)
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = Field(0, ge=0, le=1)
    initial_noise_multiplier: float | None = None
    include_init_images: bool = False


PASSED_OVER = frozenset(
    {
        "comments", "disable_extra_networks", "do_not_save_grid", "do_not_save_samples", "image_cfg_scale",
        "override_settings_restore_afterwards", "s_tmax", "s_tmin", "sampler_index", "save_images", "script_args",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """A model, as A1111's API lists them.

    Attributes:
        id: ours.
        name: what people call it.
        digest: `sha256:<64 hex>`.
    """

    id: str
    name: str
    digest: str

    @property
    def sha256(self) -> str:
        """The digest's hexadecimal digits."""
        return self.digest.removeprefix("sha256:")

    @property
    def title(self) -> str:
        """Name and short hash, by which clients choose."""
        return f"{self.name} [{self.sha256[:10]}]"

    def listed(self) -> dict[str, Any]:
        """Return the row of `/sd-models`; the file is named, its place is nobody's business."""
        return {
            "title": self.title,
            "model_name": self.name,
            "hash": self.sha256[:10],
            "sha256": self.sha256,
            "filename": f"{self.name}.safetensors",
            "config": None,
        }


def checkpoint(name: str, known: Collection[Checkpoint]) -> Checkpoint:
    """Return the one of `known` that `name` means: its title, name, id, or a hash of 10 or 64 digits.

    Raises:
        NotFound: it means none of them; lists their titles.
    """
    wanted = name.strip().removesuffix(".safetensors").removesuffix(".ckpt")
    for one in known:
        if wanted in (one.title, one.name, one.id, one.sha256, one.sha256[:10]):
            return one
    raise NotFound.among("checkpoint", name, [one.title for one in known])


@dataclass(frozen=True)
class Options:
    """A client's settings, as far as there are any: A1111 has one set for everybody, we have one a client.

    Attributes:
        checkpoint: the model's id; None for the server's default.
        clip_skip: A1111's count, 1 is none.
        noise: where noise comes from.
        noise_delta: what is added to the seed for the noise of the steps.
        format: of the pictures that are sent.
    """

    checkpoint: str | None = None
    clip_skip: int = 1
    noise: str = NOISES["GPU"]
    noise_delta: int = 0
    format: str = "png"

    def changed(self, settings: Mapping[str, Any], known: Collection[Checkpoint]) -> Options:
        """Return these with `settings`, by A1111's keys.

        Raises:
            NotFound: no such checkpoint.
            InvalidInput: a setting that is not understood here, or a value of one; lists every one.
        """
        now, problems = self, []
        for key, value in settings.items():
            try:
                now = replace(now, **_setting(key, value, known))
            except InvalidInput as problem:
                problems.append(str(problem))
        if problems:
            raise InvalidInput("\n".join(problems))
        return now

    def listed(self, current: Checkpoint) -> dict[str, Any]:
        """Return what `/options` says; every key of it can be sent back."""
        return {
            "sd_model_checkpoint": current.title,
            "sd_checkpoint_hash": current.sha256,
            "sd_vae": "Automatic",
            "CLIP_stop_at_last_layers": self.clip_skip,
            "eta_noise_seed_delta": self.noise_delta,
            "randn_source": "NV" if self.noise == "a1111-nv" else "CPU",
            "samples_format": "jpg" if self.format == "jpeg" else self.format,
            "samples_save": True,
            "enable_pnginfo": True,
            "live_previews_enable": True,
        }


def _setting(key: str, value: Any, known: Collection[Checkpoint]) -> dict[str, Any]:
    """Return what `value` of A1111's setting `key` changes in `Options`."""
    if key == "sd_model_checkpoint":
        return {"checkpoint": checkpoint(str(value), known).id}
    if key == "CLIP_stop_at_last_layers":
        if isinstance(value, (int, float)) and 1 <= value <= 12 and value == int(value):
            return {"clip_skip": int(value)}
        raise InvalidInput(f"CLIP_stop_at_last_layers is a whole number from 1 to 12, not {value!r:.80}.")
    if key == "randn_source":
        return {"noise": _among("randn_source", str(value).upper(), NOISES)}
    if key == "samples_format":
        return {"format": _among("samples_format", str(value).lower(), FORMATS)}
    if key == "sd_vae" and str(value).lower() not in NO_VAE:
        raise InvalidInput(f"sd_vae {value!r:.80}: a model brings its own autoencoder here. Use 'Automatic'.")
    if key == "eta_noise_seed_delta":
        if isinstance(value, int) and 0 <= value < 2**32:
            return {"noise_delta": int(value)}
        raise InvalidInput(f"eta_noise_seed_delta is a whole number from 0, not {value!r:.80}.")
    if key in HARMLESS or key == "sd_vae":
        return {}
    understood = "sd_model_checkpoint, CLIP_stop_at_last_layers, randn_source, eta_noise_seed_delta, samples_format"
    raise InvalidInput(f"The setting {key!r:.80} is not understood here. Those that are: {understood}.")


def _among(key: str, value: str, choices: Mapping[str, str]) -> str:
    if value not in choices:
        raise InvalidInput(f"{key} {value!r:.80} is not known here. Choose one of: {', '.join(choices)}.")
    return choices[value]


def choices(said: Said, options: Options) -> dict[str, Any]:
    """Return the request for a job that `said` asks for, but for its pictures; what it leaves out is left out.

    Args:
        said: by the client.
        options: of the client, `said.settings` already in them.

    Raises:
        NotFound: no such sampler, schedule or upscaler.
        InvalidInput: something that would change the picture and cannot be done here; lists every such thing.
    """
    if problems := list(impossible(said)):
        raise InvalidInput("\n".join(problems))
    clip_skip = (said.clip_skip or 1) if options.clip_skip == 1 else options.clip_skip
    width, height = _side("width", said.width), _side("height", said.height)
    request = {
        "model": options.checkpoint,
        "prompt": said.prompt if said.prompt or not said.infotext else None,
        "negative_prompt": said.negative_prompt or None,
        "count": said.batch_size * said.n_iter,
        "seed": None if said.seed is None or said.seed < 0 else said.seed,
        **sampling(said),
        "steps": said.steps,
        "guidance": said.cfg_scale,
        "width": width,
        "height": height,
        "noise_delta": options.noise_delta or None,
        "variation": _variation(said),
        "seamless": "xy" if said.tiling else None,
        "clip_skip": clip_skip if clip_skip > 1 else None,
    }
    if isinstance(said, ImageSaid):
        request |= {"start": _start(said), "mask": _mask(said) if said.mask else None}
    elif said.enable_hr:
        request |= _second_pass(said, width, height)
    given = {key: value for key, value in request.items() if value is not None}
    return {"noise": options.noise, "prompt_rules": "a1111", **_recalled(said.infotext), **given}


def impossible(said: Said) -> Iterator[str]:
    """Yield a line for each thing that `said` asks for, that would change the picture, and that cannot be done here."""
    if said.styles:
        yield f"styles {said.styles!r:.80}: there are no prompt styles here. Write them into the prompt."
    if said.restore_faces:
        yield "restore_faces: there is no model for it here. Leave it off."
    if said.refiner_checkpoint and said.refiner_checkpoint.lower() != "none":
        yield f"refiner_checkpoint {said.refiner_checkpoint!r:.80}: a second model is not supported here. Leave it out."
    if said.script_name and said.script_name.lower() != "none":
        yield f"script_name {said.script_name!r:.80}: there are no scripts here. Leave it out."
    for name, script in (said.alwayson_scripts or {}).items():
        arguments = script.get("args") if isinstance(script, dict) else script
        if any(arguments) if isinstance(arguments, (list, tuple)) else arguments:
            yield f"alwayson_scripts {name!r:.80}: there is no such script here. Leave it out, or its args empty."
    for key in ("s_churn", "s_min_uncond"):
        if value := getattr(said, key):
            yield f"{key} {value}: samplers have no such option here. Leave it out."
    if isinstance(said, ImageSaid):
        yield from _impossible_image(said)


def _impossible_image(said: ImageSaid) -> Iterator[str]:
    if len(said.init_images) > 1:
        yield f"init_images has {len(said.init_images)} pictures: one is begun with at a time here. Send them apart."
    if said.resize_mode == 3:
        yield "resize_mode 3 (latent upscale): pictures are resized as pixels here. Use 0, 1 or 2."
    if said.initial_noise_multiplier not in (None, 0, 1):
        yield f"initial_noise_multiplier {said.initial_noise_multiplier}: it is always 1 here. Leave it out."
    if said.mask_blur is None and said.mask_blur_x != said.mask_blur_y:
        yield f"mask_blur_x {said.mask_blur_x} and mask_blur_y {said.mask_blur_y}: both are one here. Send mask_blur."


def sampling(said: Said) -> dict[str, Any]:
    """Return what a request says of the sampler and the schedule that `said` names, if any.

    Raises:
        NotFound: no tool knows the name; lists A1111's.
    """
    name = said.sampler_name or said.sampler_index
    schedule, tool = solver(name, said.scheduler)
    if not name or name.lower() in SAME:
        return {"schedule": schedule}
    return {
        "sampler": name,
        "schedule": schedule,
        "tool": tool,
        "sampler_options": _sampler_options(said, schedule, tool),
    }


def solver(sampler: str | None, scheduler: str | None) -> tuple[str | None, str | None]:
    """Return the schedule that A1111's API calls `scheduler`, as its pictures call it, and whose names both are.

    Names of before 1.9, which end with the schedule's, short ones (`k_euler_a`), and those of other tools are
    understood too.

    Raises:
        NotFound: no tool knows one of them; lists A1111's.
    """
    schedule = None if (scheduler or "").lower() in AUTOMATIC else _label(str(scheduler))
    if not sampler or sampler.lower() in SAME:
        names.find("Euler", schedule)
        return schedule, None
    try:
        names.find(sampler, schedule, "a1111")
    except NotFound as unknown:
        try:
            names.find(sampler, schedule)
        except NotFound:
            raise unknown from None
        return schedule, None
    return schedule, "a1111"


def _sampler_options(said: Said, schedule: str | None, tool: str | None) -> dict[str, Any] | None:
    """Return `eta` and `s_noise` for the samplers that have them, as A1111 passes them on; others do without."""
    meant = names.find(str(said.sampler_name or said.sampler_index), schedule, tool)
    known = inspect.signature(SAMPLERS[meant.sampler]).parameters
    given = {key: getattr(said, key) for key in ("eta", "s_noise")}
    own = {
        key: value for key, value in given.items() if value is not None and key in known and value != known[key].default
    }
    return {**meant.options, **own} if own else None


def _label(scheduler: str) -> str:
    """A1111's API lists schedules by name (`sgm_uniform`), its pictures by label (`SGM Uniform`)."""
    labels = {schedule_name(label): label for label in names.A1111_SCHEDULES}
    return labels.get(scheduler.lower(), scheduler)


def schedule_name(label: str) -> str:
    """Return what A1111's API calls the schedule that its pages call `label`."""
    return label.lower().replace(" ", "_")


def _side(key: str, pixels: int | None) -> int | None:
    """A1111 makes whole latents of 8 pixels, and leaves the rest of a side off."""
    if pixels is not None and pixels < 8:
        raise InvalidInput(f"{key} {pixels} is too small. Ask for 8 or more.")
    return pixels and pixels // 8 * 8


def _variation(said: Said) -> dict[str, Any] | None:
    width, height = said.seed_resize_from_w, said.seed_resize_from_h
    resized = {"width": width // 8 * 8, "height": height // 8 * 8} if width > 0 and height > 0 else {}
    if not said.subseed_strength:
        return resized or None
    drawn = said.subseed is None or said.subseed < 0
    seed = secrets.randbelow(2**32) if drawn else said.subseed
    return {"seed": seed, "strength": said.subseed_strength, **resized}


def _start(said: ImageSaid) -> dict[str, Any]:
    strength = 0.75 if said.denoising_strength is None else said.denoising_strength
    return {"strength": max(strength, LEAST_STRENGTH), "counting": "a1111"}


def _mask(said: ImageSaid) -> dict[str, Any]:
    return {
        "invert": bool(said.inpainting_mask_invert),
        "blur": said.mask_blur_x if said.mask_blur is None else said.mask_blur,
        "content": CONTENTS[said.inpainting_fill],
        "area": "masked" if said.inpaint_full_res else "whole",
        "padding": said.inpaint_full_res_padding,
    }


def _second_pass(said: Said, width: int | None, height: int | None) -> dict[str, Any]:
    """Return the request's `hires`, and its size where that is `firstphase_width` by `firstphase_height`."""
    first = (said.firstphase_width or 0) // 8 * 8, (said.firstphase_height or 0) // 8 * 8
    if (said.hr_checkpoint_name or "").lower() not in SAME:
        raise InvalidInput(f"hr_checkpoint_name {said.hr_checkpoint_name!r:.80}: both passes use one model here.")
    upscalers = {**MODES, **UPSCALERS}
    if (upscaler := said.hr_upscaler or "Latent") not in upscalers:
        raise NotFound.among("hr_upscaler", upscaler, upscalers)
    hires = {
        **_target(said, width, height, both=all(first)),
        "upscaler": upscalers[upscaler],
        "strength": max(0.75 if said.denoising_strength is None else said.denoising_strength, LEAST_STRENGTH),
        "steps": said.hr_second_pass_steps or None,
        "prompt": said.hr_prompt or None,
        "negative_prompt": said.hr_negative_prompt or None,
    }
    hires |= _second_sampling(said)
    sized = {"width": first[0], "height": first[1]} if all(first) else {}
    return {**sized, "hires": {key: value for key, value in hires.items() if value is not None}}


def _target(said: Said, width: int | None, height: int | None, *, both: bool) -> dict[str, Any]:
    """Return the size of the second pass: that of the picture, or from one side, both, or the scale."""
    x, y = said.hr_resize_x or 0, said.hr_resize_y or 0
    if width is None or height is None:
        if x or y:
            raise InvalidInput("hr_resize_x and hr_resize_y need width and height: the size of the first pass.")
        return {"scale": said.hr_scale}
    if both:
        x, y = width, height
    elif x and y:
        if abs(x * height - y * width) > 8 * max(width, height):
            raise InvalidInput(
                f"hr_resize_x {x} and hr_resize_y {y} have other proportions than {width}x{height}: nothing is cropped "
                "here. Send one of them."
            )
    elif x or y:
        x, y = (x, x * height // width) if x else (y * width // height, y)
    else:
        x, y = int(width * said.hr_scale), int(height * said.hr_scale)
    return {"width": x // 8 * 8, "height": y // 8 * 8}


def _second_sampling(said: Said) -> dict[str, Any]:
    """Return the sampler and schedule of the second pass, where they are others than the first's."""
    own_sampler = (said.hr_sampler_name or "").lower() not in SAME
    if not own_sampler and (said.hr_scheduler or "").lower() in AUTOMATIC:
        return {}
    sampler = said.hr_sampler_name if own_sampler else said.sampler_name or said.sampler_index
    schedule, tool = solver(sampler, said.hr_scheduler or said.scheduler)
    if tool != solver(said.sampler_name or said.sampler_index, said.scheduler)[1] and said.sampler_name:
        raise InvalidInput(
            f"hr_sampler_name {sampler!r:.80} and sampler_name are of two programs. Use the names of one."
        )
    return {"sampler": sampler, "schedule": schedule}


def _recalled(text: str | None) -> dict[str, Any]:
    """Return what an infotext asks for, where the client sent one."""
    found = infotext.read(text) if text else None
    if found is None:
        return {}
    return {"prompt": found.prompt, **infotext.choices(found)}


def ignored(said: Said) -> list[str]:
    """Return the names (not the values) of what `said` has and what had no part in the pictures."""
    known = type(said).model_fields
    return sorted(key for key in said.model_fields_set if key not in known or key in PASSED_OVER)


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


def told(said: Said, recipes: Sequence[Recipe], model: Checkpoint, job: str, made: datetime) -> dict[str, Any]:
    """Return the `info` of an answer: what was made, in A1111's words; what is ours is under `impasto`.

    Args:
        said: by the client.
        recipes: of the pictures, at least one.
        model: that made them.
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
        "sd_model_hash": model.sha256[:10],
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "denoising_strength": given.strength if given else None,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": [infotext.write(recipe) for recipe in recipes],
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


class Extras(BaseModel):
    """What the bodies of `/sdapi/v1/extra-single-image` and `/sdapi/v1/extra-batch-images` have in common."""

    model_config = ConfigDict(protected_namespaces=())

    resize_mode: Literal[0, 1] = 0
    upscaling_resize: float = Field(2, gt=0, le=8)
    upscaling_resize_w: int = Field(512, ge=1, le=8192)
    upscaling_resize_h: int = Field(512, ge=1, le=8192)
    upscaling_crop: bool = True
    upscaler_1: str = "None"
    upscaler_2: str = "None"
    extras_upscaler_2_visibility: float = Field(0, ge=0, le=1)
    gfpgan_visibility: float = 0
    codeformer_visibility: float = 0

    def size(self, size: tuple[int, int]) -> tuple[tuple[int, int], bool]:
        """Return the size that a picture of `size` is to have, and whether it is cropped to it.

        Raises:
            InvalidInput: it is to be enlarged, or its faces painted, by a model that is not here.
        """
        for upscaler in (self.upscaler_1, self.upscaler_2 if self.extras_upscaler_2_visibility else "None"):
            if upscaler not in UPSCALERS:
                raise NotFound.among("upscaler", upscaler, UPSCALERS)
        if self.gfpgan_visibility or self.codeformer_visibility:
            raise InvalidInput("gfpgan_visibility and codeformer_visibility: there is no such model here. Use 0.")
        if self.resize_mode == 0:
            return (max(1, int(size[0] * self.upscaling_resize)), max(1, int(size[1] * self.upscaling_resize))), False
        wanted = (self.upscaling_resize_w, self.upscaling_resize_h)
        if self.upscaling_crop:
            return wanted, True
        scale = max(wanted[0] / size[0], wanted[1] / size[1])
        return (round(size[0] * scale), round(size[1] * scale)), False
