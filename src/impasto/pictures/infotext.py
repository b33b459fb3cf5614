"""A recipe as the text that A1111's web UI writes into its pictures, and that text read back, whoever wrote it.

Format: the prompt, `Negative prompt: ...` when there is one, and one line of `Key: value` pairs. A value is quoted like
a JSON string when it has a comma, a line break or a colon in it. Others (Civitai, stable-diffusion.cpp) also put whole
JSON objects there, unquoted: the reader here knows where JSON ends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from impasto import __version__
from impasto.recipe import Recipe

SAMPLER_NAMES = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "dpm_2": "DPM2",
    "dpm_2_ancestral": "DPM2 a",
    "lms": "LMS",
    "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "ddpm": "DDPM",
    "ddim": "DDIM",
    "plms": "PLMS",
    "unipc": "UniPC",
    "deis": "DEIS",
    "lcm": "LCM",
    "restart": "Restart",
}
SCHEDULE_NAMES = {
    "normal": "Normal",
    "karras": "Karras",
    "exponential": "Exponential",
    "polyexponential": "Polyexponential",
    "sgm_uniform": "SGM Uniform",
    "simple": "Simple",
    "ddim_uniform": "DDIM",
    "beta": "Beta",
    "align_your_steps": "Align Your Steps",
    "kl_optimal": "KL Optimal",
}

UPSCALER_NAMES = {
    "latent": "Latent",
    "latent-nearest": "Latent (nearest)",
    "latent-bicubic": "Latent (bicubic)",
    "lanczos": "Lanczos",
}
# What A1111 means by "Automatic", where that is not "Normal".
AUTOMATIC = {
    "dpmpp_2m": "karras",
    "dpmpp_sde": "karras",
    "dpmpp_2m_sde": "exponential",
    "dpmpp_3m_sde": "exponential",
    "dpmpp_2s_ancestral": "karras",
    "dpm_2": "karras",
    "dpm_2_ancestral": "karras",
    "restart": "karras",
}
GPU_BY_DEFAULT = ("A1111", "Forge", "Civitai")
VARIATION_KEYS: tuple[tuple[str, type[int] | type[float]], ...] = (
    ("Variation seed", int),
    ("Variation seed strength", float),
)
# The original is what A1111 leaves unsaid.
CONTENT_NAMES = {"original": None, "fill": "fill", "noise": "latent noise", "nothing": "latent nothing"}

# As stable-diffusion.cpp writes them, where that is neither ours nor A1111's.
OTHER_NAMES = {
    "euler_a": "euler_ancestral",
    "dpm2": "dpm_2",
    "dpm++2s_a": "dpmpp_2s_ancestral",
    "dpm++2m": "dpmpp_2m",
    "dpm++2m_sde": "dpmpp_2m_sde",
    "ddim_trailing": "ddim",
}

NEGATIVE = "Negative prompt:"
FEWEST_PAIRS = 3
"""A last line with fewer pairs is the prompt's own, as A1111's reader has it."""

KEY = re.compile(r"\s*(\w[\w \-/]+):\s*")
QUOTED = re.compile(r'"(?:\\.|[^\\"])+"(?=\s*(?:,|$))')
PLAIN = re.compile(r"[^,]*")
JSON = json.JSONDecoder()
LONGEST = 4_000_000
"""Characters of a text that are looked at; no program writes more."""


@dataclass(frozen=True)
class Infotext:
    """What a picture's file says of how it was made, in A1111's terms whoever said it.

    Attributes:
        prompt: what it was to show.
        negative_prompt: what to keep away from.
        parameters: values by A1111's keys (`Steps`, `CFG scale`, `Size` ...); JSON as the text that it was.
        program: that wrote the file, as far as the file says.
    """

    prompt: str
    negative_prompt: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    program: str = "A1111"


def write(recipe: Recipe) -> str:
    """Return the infotext of `recipe`; names without a counterpart there stand as they are here."""
    return assemble(recipe.prompt, recipe.negative_prompt, _pairs(recipe))


def _pairs(recipe: Recipe) -> dict[str, Any]:
    return {
        "Steps": recipe.steps,
        "Sampler": SAMPLER_NAMES.get(recipe.sampler, recipe.sampler),
        "Schedule type": SCHEDULE_NAMES.get(recipe.schedule, recipe.schedule),
        "CFG scale": number(recipe.guidance),
        "Seed": recipe.seed,
        "Size": f"{recipe.width}x{recipe.height}",
        "Model hash": recipe.model_digest.removeprefix("sha256:")[:10],
        "Model": recipe.model_name,
        **_variation_pairs(recipe),
        "Denoising strength": _strength(recipe),
        "RNG": "NV" if recipe.noise == "a1111-nv" else "CPU",
        "Tiling": "True" if recipe.seamless == "xy" else None,
        **_hires_pairs(recipe),
        **_mask_pairs(recipe),
        "Version": f"Impasto {__version__}",
    }


def _variation_pairs(recipe: Recipe) -> dict[str, Any]:
    variation = recipe.variation
    if variation is None:
        return {}
    sized = f"{variation.width}x{variation.height}" if variation.width and variation.height else None
    return {
        "Variation seed": variation.seed if variation.strength else None,
        "Variation seed strength": number(variation.strength) if variation.strength else None,
        "Seed resize from": sized,
    }


def _strength(recipe: Recipe) -> str | None:
    given = recipe.start or recipe.hires
    return number(given.strength) if given else None


def _hires_pairs(recipe: Recipe) -> dict[str, Any]:
    hires = recipe.hires
    if hires is None:
        return {}
    scale = hires.width / recipe.width
    even = scale == hires.height / recipe.height
    return {
        "Hires upscale": number(scale) if even else None,
        "Hires resize": None if even else f"{hires.width}x{hires.height}",
        "Hires steps": hires.steps,
        "Hires upscaler": UPSCALER_NAMES[hires.upscaler],
        "Hires sampler": hires.sampler and SAMPLER_NAMES.get(hires.sampler, hires.sampler),
        "Hires schedule type": hires.schedule and SCHEDULE_NAMES.get(hires.schedule, hires.schedule),
    }


def _mask_pairs(recipe: Recipe) -> dict[str, Any]:
    mask = recipe.mask
    if mask is None:
        return {}
    return {
        "Mask blur": number(mask.blur),
        "Mask mode": "Inpaint not masked" if mask.invert else None,
        "Inpaint area": "Only masked" if mask.area == "masked" else None,
        "Masked area padding": mask.padding if mask.area == "masked" else None,
        "Masked content": CONTENT_NAMES[mask.content],
    }


def assemble(prompt: str, negative_prompt: str, pairs: Mapping[str, Any]) -> str:
    """Return the text for a prompt and `pairs`, without those that are None; a value like its key goes."""
    given = {key: str(value) for key, value in pairs.items() if value is not None}
    parameters = ", ".join(key if key == value else f"{key}: {_quoted(value)}" for key, value in given.items())
    negative = [f"{NEGATIVE} {negative_prompt}"] if negative_prompt else []
    return "\n".join([prompt, *negative, parameters])


def number(value: float) -> str:
    """Return `value` with as many digits as it needs: 7 for 7.0."""
    return f"{value:.10g}"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ",\n:") else value


def read(text: str) -> Infotext | None:
    """Return what the infotext `text` says, or None when nothing in it is a line of parameters."""
    *lines, last = text[:LONGEST].strip("\n\r").split("\n")
    parameters = dict(pairs(last))
    if len(parameters) < FEWEST_PAIRS:
        return None
    split = next((i for i, line in enumerate(lines) if line.startswith(NEGATIVE)), len(lines))
    negative = "\n".join(lines[split:]).removeprefix(NEGATIVE).removeprefix(" ")
    return Infotext("\n".join(lines[:split]), negative, parameters, _program(parameters))


def pairs(line: str) -> Iterator[tuple[str, str]]:
    """Yield the `Key: value` pairs of `line`; a value that is a JSON object or array ends where its JSON does."""
    position = 0
    while position < len(line):
        if match := KEY.match(line, position):
            value, position = _value(line, match.end())
            yield match[1], value
        comma = line.find(",", position)
        position = len(line) if comma < 0 else comma + 1


def _value(line: str, start: int) -> tuple[str, int]:
    if line[start : start + 1] in ("{", "["):
        try:
            _, end = JSON.raw_decode(line, start)
        except (ValueError, RecursionError):
            pass  # braces in ordinary text
        else:
            return line[start:end], end
    if match := QUOTED.match(line, start):
        return _unquoted(match[0]), match.end()
    plain = PLAIN.match(line, start)
    assert plain is not None
    return plain[0].rstrip(), plain.end()


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value, strict=False))
    except ValueError:
        return value


def _program(parameters: Mapping[str, str]) -> str:
    version = parameters.get("Version", "")
    for sign, program in (("Impasto", "Impasto"), ("stable-diffusion.cpp", "stable-diffusion.cpp"), ("f", "Forge")):
        if version.startswith(sign):
            return program
    return "ComfyUI" if version.startswith("ComfyUI") else _hosted(parameters)


def _hosted(parameters: Mapping[str, str]) -> str:
    return "Civitai" if any(key.startswith("Civitai ") for key in parameters) else "A1111"


def choices(found: Infotext) -> dict[str, Any]:
    """Return what `found` says as the choices of a recipe (`steps`, `seed` ...); what cannot be understood is left out.

    Names of samplers and schedules that have no counterpart here stay as they are, for whoever runs the recipe to
    refuse.
    """
    given = found.parameters
    sampler, schedule = solver(given.get("Sampler", ""), given.get("Schedule type", ""))
    if sampler and not schedule and found.program in GPU_BY_DEFAULT:
        schedule = "normal"  # before 1.9, which names the schedule whenever it is another
    width, height = _size(given.get("Size", ""))
    read_values: dict[str, Any] = {
        "negative_prompt": found.negative_prompt,
        "seed": _number(given.get("Seed", ""), int),
        "steps": _number(given.get("Steps", ""), int),
        "guidance": _number(given.get("CFG scale", ""), float),
        "sampler": sampler or None,
        "schedule": schedule or None,
        "width": width,
        "height": height,
        "noise": _noise(found),
        "variation": _variation(given),
        "hires": _hires(given, width, height),
        "seamless": "xy" if given.get("Tiling") in ("True", "Tiling") else None,
    }
    return {key: value for key, value in read_values.items() if value is not None}


def _noise(found: Infotext) -> str | None:
    """A1111 draws on the GPU and does not say so; its `NV` gives the same numbers, on any machine."""
    told = found.parameters.get("RNG", "GPU" if found.program in GPU_BY_DEFAULT else "").upper()
    return {"CPU": "a1111-cpu", "NV": "a1111-nv", "GPU": "a1111-nv", "CUDA": "a1111-nv"}.get(told)


def _variation(given: Mapping[str, str]) -> dict[str, Any] | None:
    seed, strength = (_number(given.get(key, ""), kind) for key, kind in VARIATION_KEYS)
    told: dict[str, Any] = {} if seed is None or not strength else {"seed": seed, "strength": strength}
    width, height = _size(given.get("Seed resize from", ""))
    return {**told, "width": width, "height": height} if width and height else told or None


def _hires(given: Mapping[str, str], width: int | None, height: int | None) -> dict[str, Any] | None:
    """Return the second pass that the text tells of; sides are rounded down to whole latents, as A1111 does."""
    scale = _number(given.get("Hires upscale", ""), float)
    size = _size(given.get("Hires resize", ""))
    if width and height and scale and 0 < scale < 100:
        size = (int(width * scale) // 8 * 8, int(height * scale) // 8 * 8)
    if not all(size):
        return None
    upscalers = {name.lower(): ours for ours, name in UPSCALER_NAMES.items()}
    sampler, schedule = solver(given.get("Hires sampler", ""), given.get("Hires schedule type", ""))
    told = {
        "width": size[0],
        "height": size[1],
        "upscaler": upscalers.get(given.get("Hires upscaler", "").lower(), "lanczos"),
        "strength": _number(given.get("Denoising strength", ""), float),
        "steps": _number(given.get("Hires steps", ""), int) or None,
        "sampler": sampler or None,
        "schedule": schedule or None,
    }
    return {key: value for key, value in told.items() if value is not None}


def solver(sampler: str, schedule: str) -> tuple[str, str]:
    """Return our names for A1111's `sampler` and `schedule`; before 1.9 the sampler's name ends with the schedule's."""
    samplers = {**OTHER_NAMES, **{name.lower(): ours for ours, name in SAMPLER_NAMES.items()}}
    schedules = {name.lower(): ours for ours, name in SCHEDULE_NAMES.items()}
    first, _, last = sampler.rpartition(" ")
    if sampler.lower() not in samplers and last.lower() in schedules:
        sampler, schedule = first, schedule or last
    ours = samplers.get(sampler.lower(), sampler)
    if schedule.lower() == "automatic":
        schedule = AUTOMATIC.get(ours, "normal")
    return ours, schedules.get(schedule.lower(), schedule)


def _size(text: str) -> tuple[int | None, int | None]:
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    return (int(match[1]), int(match[2])) if match else (None, None)


def _number(text: str, kind: type[int] | type[float]) -> int | float | None:
    try:
        return kind(text[:40])
    except ValueError:
        return None
