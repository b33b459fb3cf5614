"""What clients of A1111's web UI say, in our terms: requests, names and options; no network and no pictures made here.

Facts of `modules/api` and `modules/processing.py` of AUTOMATIC1111/stable-diffusion-webui 1.10. Three rules: what
a client leaves out is the model's own; what would change the picture and cannot be done is refused by name; what
changes no picture is passed over, and told in the answer.
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Collection, Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from impasto.diffusion import names
from impasto.diffusion.samplers import SAMPLERS
from impasto.errors import InvalidInput, NotFound
from impasto.pictures import infotext
from impasto.server.dialects.a1111_options import Checkpoint, Options, checkpoint
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


def choices(said: Said, options: Options, known: Collection[Checkpoint] = ()) -> dict[str, Any]:
    """Return the request for a job that `said` asks for, but for its pictures; what it leaves out is left out.

    Args:
        said: by the client.
        options: of the client, `said.settings` already in them.
        known: the models that a second pass may be made by.

    Raises:
        NotFound: no such sampler, schedule, upscaler or checkpoint.
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
        request |= {"start": _start(said, options), "mask": _mask(said) if said.mask else None}
    elif said.enable_hr:
        request |= _second_pass(said, width, height, known)
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


def _start(said: ImageSaid, options: Options) -> dict[str, Any]:
    strength = 0.75 if said.denoising_strength is None else said.denoising_strength
    return {"strength": max(strength, LEAST_STRENGTH), "counting": "exact" if options.exact_steps else "a1111"}


def _mask(said: ImageSaid) -> dict[str, Any]:
    return {
        "invert": bool(said.inpainting_mask_invert),
        "blur": said.mask_blur_x if said.mask_blur is None else said.mask_blur,
        "content": CONTENTS[said.inpainting_fill],
        "area": "masked" if said.inpaint_full_res else "whole",
        "padding": said.inpaint_full_res_padding,
    }


def _second_pass(said: Said, width: int | None, height: int | None, known: Collection[Checkpoint]) -> dict[str, Any]:
    """Return the request's `hires`, and its size where that is `firstphase_width` by `firstphase_height`."""
    first = (said.firstphase_width or 0) // 8 * 8, (said.firstphase_height or 0) // 8 * 8
    second = said.hr_checkpoint_name or ""
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
        "model": None if second.lower() in SAME else checkpoint(second, known).id,
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
