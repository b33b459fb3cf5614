"""A recipe as the text that A1111's web UI writes into its pictures, and that text read back, whoever wrote it.

Format: the prompt, `Negative prompt: ...` when there is one, and one line of `Key: value` pairs. A value is quoted like
a JSON string when it has a comma, a line break or a colon in it. Others (Civitai, stable-diffusion.cpp) also put whole
JSON objects there, unquoted: the reader here knows where JSON ends.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from impasto import __version__
from impasto.recipe import Recipe, SamplerOptions

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
    "beta_sigma": "Beta",
    "align_your_steps_whole": "Align Your Steps",
    "kl_optimal_lowest": "KL Optimal",
}
"""A1111's names for the schedules that mean the same there; others stand as they are here."""

SPACING_KEYS = {"sigma_max": "Schedule max sigma", "sigma_min": "Schedule min sigma", "rho": "Schedule rho"}
"""Options of schedules by A1111's keys, in its order."""

SPACED = {
    "karras": ("sigma_max", "sigma_min", "rho"),
    "polyexponential": ("sigma_max", "sigma_min", "rho"),
    **dict.fromkeys(("exponential", "beta_sigma", "kl_optimal_lowest"), ("sigma_max", "sigma_min")),
}
"""Which of them count for a schedule there and mean the same here."""

LARGEST = {"sigma_max": 1000, "sigma_min": 1000, "rho": 100}  # of a recipe's

NEGATIVE_ABOVE, EVERY_STEP = "NGMS", "NGMS all steps"
"""The noise level under which the negative prompt is left out: at every step, or else at every second one."""

OTHER_SCHEDULES = {"uniform": "normal", "align your steps (ays)": "align_your_steps_whole"}
OURS = ("beta",)
"""Schedules whose names are another's of A1111, but for their capitals."""

HEUN = "DPM++ 2M SDE Heun"
UPSCALER_NAMES = {
    "latent": "Latent",
    "latent-antialiased": "Latent (antialiased)",
    "latent-nearest": "Latent (nearest)",
    "latent-nearest-exact": "Latent (nearest-exact)",
    "latent-bicubic": "Latent (bicubic)",
    "latent-bicubic-antialiased": "Latent (bicubic antialiased)",
    "lanczos": "Lanczos",
}
EMPHASIS_NAMES = {"original": None, "no_norm": "No norm", "ignore": "Ignore", "none": "None", "comfy": "ComfyUI"}
"""The original is what A1111 leaves unsaid; the last is ours."""

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
    "lcm": "lcm",
}
FIXED = {"ddim": "compvis", "plms": "compvis", "unipc": "sgm_uniform_lowest"}
"""Samplers that have one schedule in A1111, whatever a person chooses."""

DISCARDING = ("dpm_2", "dpm_2_ancestral", "dpmpp_3m_sde")
"""Samplers that go without the last level above 0 in A1111."""

DISCARDING_THERE = ("dpm_2", "dpm_2_ancestral", "unipc")
"""The same in ComfyUI."""

UNIT = ("plms", "unipc")
"""Samplers whose first noise has variance 1 in the network's own scale in A1111, where that is not their way here."""

A1111_LIKE = ("A1111", "Forge", "Civitai")
OPTION_KEYS: dict[str, tuple[str, type[int] | type[float] | None]] = {
    "eta": ("Eta", float),
    "s_churn": ("Sigma churn", float),
    "s_tmin": ("Sigma tmin", float),
    "s_tmax": ("Sigma tmax", float),
    "s_noise": ("Sigma noise", float),
    "order": ("UniPC order", int),
    "variant": ("UniPC variant", None),
}
"""Options of samplers by A1111's keys. DDIM's eta has a key of its own."""

ETA_DDIM = "Eta DDIM"
STOCHASTIC = ("euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde")
CHURNING = ("euler", "heun", "dpm_2")
OPTIONS_OF = {
    **dict.fromkeys(STOCHASTIC, ("eta", "s_noise")),
    **dict.fromkeys(CHURNING, ("s_churn", "s_tmin", "s_tmax", "s_noise")),
    "ddim": ("eta",),
    "unipc": ("order", "variant"),
}
"""Which of them change a sampler's pictures in A1111, which writes them whatever the sampler."""

FOLLOWED = frozenset(
    {
        *("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Model hash", "Version", "RNG"),
        *("Clip skip", "ENSD", "Emphasis", "Discard penultimate sigma", "SGM noise multiplier", "Noise Schedule"),
        *("Variation seed", "Variation seed strength", "Seed resize from", "Tiling", "Denoising strength", "User"),
        *("Hires upscale", "Hires resize", "Hires steps", "Hires upscaler", "Hires sampler", "Hires schedule type"),
        *("Hires prompt", "Hires negative prompt", "Lora hashes", "TI hashes", "VAE", "VAE hash", "Init image hash"),
        *("Mask blur", "Mask mode", "Inpaint area", "Masked area padding", "Masked content", ETA_DDIM),
        *("Batch size", "Batch pos", "Hashes", "Civitai resources", "Civitai metadata", "Created Date"),
        *(key for key, _ in OPTION_KEYS.values()),
    }
)
"""Keys whose meaning is followed, or that have none for the picture."""

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
    HEUN.lower(): "dpmpp_2m_sde",
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


@dataclass(frozen=True)
class Hashes:
    """By what A1111 knows the files that a picture is made with: the beginnings of hexadecimal SHA-256s.

    Attributes:
        parts: 12 digits of adapters and embeddings, by their names.
        model: 10 digits of the checkpoint's file, where the model is one file.
        vae: 10 digits of the file of an autoencoder that took the place of the model's own.
        vae_name: name of that file, or of the folder that it was.
    """

    parts: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    vae: str | None = None
    vae_name: str | None = None


def write(recipe: Recipe, hashes: Hashes | None = None) -> str:
    """Return the infotext of `recipe`; names without a counterpart there stand as they are here.

    A model that is no single file has no hash that other programs know it by; in its place is that of its weights.

    Args:
        recipe: to write of.
        hashes: by what A1111 knows the files.
    """
    return assemble(recipe.prompt, recipe.negative_prompt, _pairs(recipe, hashes or Hashes()))


def _pairs(recipe: Recipe, hashes: Hashes) -> dict[str, Any]:
    """Return the pairs in A1111's order."""
    return {
        "Steps": recipe.steps,
        "Sampler": _sampler_name(recipe.sampler, recipe.sampler_options),
        "Schedule type": SCHEDULE_NAMES.get(recipe.schedule, recipe.schedule),
        "CFG scale": number(recipe.guidance),
        "Seed": recipe.seed,
        "Size": f"{recipe.width}x{recipe.height}",
        "Model hash": hashes.model or short(recipe.model_digest),
        "Model": recipe.model_name,
        "VAE hash": hashes.vae,
        "VAE": hashes.vae_name,
        **_variation_pairs(recipe),
        "Denoising strength": _strength(recipe),
        "Clip skip": recipe.clip_skip if recipe.clip_skip > 1 else None,
        "ENSD": recipe.noise_delta or None,
        "RNG": {"a1111-nv": "NV", "comfyui": "ComfyUI"}.get(recipe.noise, "CPU"),
        "Tiling": "True" if recipe.seamless == "xy" else None,
        **_hires_pairs(recipe),
        **_mask_pairs(recipe),
        "Lora hashes": _hashes([use.name for use in recipe.adapters], hashes.parts),
        "TI hashes": _hashes([use.name for use in recipe.embeddings], hashes.parts),
        "Noise Schedule": "Zero Terminal SNR" if recipe.zero_snr else None,
        "Emphasis": EMPHASIS_NAMES[recipe.emphasis],
        **_option_pairs(recipe),
        **_spacing_pairs(recipe),
        **_interval_pairs(recipe),
        "Version": f"Impasto {__version__}",
    }


def short(digest: str) -> str:
    """Return the 10 digits by which A1111 knows the file whose SHA-256 is `digest` (`sha256:<hex>`)."""
    return digest.removeprefix("sha256:")[:10]


def _sampler_name(sampler: str, options: SamplerOptions | None) -> str:
    if sampler == "dpmpp_2m_sde" and options and options.solver == "heun":
        return HEUN
    return SAMPLER_NAMES.get(sampler, sampler)


def _option_pairs(recipe: Recipe) -> dict[str, Any]:
    given = recipe.sampler_options.given() if recipe.sampler_options else {}
    return {
        **{
            _option_key(name, recipe.sampler): number(value) if isinstance(value, float) else value
            for name, value in given.items()
            if name in OPTION_KEYS
        },
        "Discard penultimate sigma": "True" if recipe.discard_penultimate else None,
        "SGM noise multiplier": "True" if recipe.first_noise == "unit" else None,
    }


def _spacing_pairs(recipe: Recipe) -> dict[str, str]:
    given = recipe.schedule_options.given() if recipe.schedule_options else {}
    return {key: number(given[name]) for name, key in SPACING_KEYS.items() if name in given}


def _interval_pairs(recipe: Recipe) -> dict[str, str]:
    """Return A1111's words for guidance that stops at a level; it has none for guidance that begins at one."""
    interval = recipe.guidance_interval
    if interval is None or interval.high is not None or not interval.low:
        return {}
    return {NEGATIVE_ABOVE: number(interval.low), EVERY_STEP: "True"}


def _option_key(name: str, sampler: str) -> str:
    return ETA_DDIM if (name, sampler) == ("eta", "ddim") else OPTION_KEYS[name][0]


def _hashes(names: Sequence[str], hashes: Mapping[str, str]) -> str | None:
    """Return A1111's list of names and hashes; marks of the list itself are left out of the names, as it does."""
    known = {name.replace(":", "").replace(",", ""): hashes[name] for name in names if name in hashes}
    return ", ".join(f"{name}: {short}" for name, short in known.items()) or None


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
        "Hires checkpoint": hires.model and hires.model.name,
        "Hires sampler": hires.sampler and _sampler_name(hires.sampler, hires.sampler_options),
        "Hires schedule type": hires.schedule and SCHEDULE_NAMES.get(hires.schedule, hires.schedule),
        "Hires prompt": hires.prompt,
        "Hires negative prompt": hires.negative_prompt,
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
    refuse. `beyond` names what the text says besides.
    """
    given = found.parameters
    width, height = _size(given.get("Size", ""))
    read_values: dict[str, Any] = {
        "negative_prompt": found.negative_prompt,
        "seed": _number(given.get("Seed", ""), int),
        "steps": _number(given.get("Steps", ""), int),
        "guidance": _number(given.get("CFG scale", ""), float),
        **_solving(found, given.get("Sampler", ""), given.get("Schedule type", "")),
        "width": width,
        "height": height,
        "noise": _noise(found),
        "variation": _variation(given),
        "hires": _hires(found, width, height),
        "seamless": "xy" if given.get("Tiling") in ("True", "Tiling") else None,
        "guidance_interval": _interval(given),
        **_reading(found),
    }
    return {key: value for key, value in read_values.items() if value is not None}


def beyond(found: Infotext) -> list[str]:
    """Return the keys of `found` that mean something there which is not done here."""
    if found.program not in A1111_LIKE:
        return []
    followed = {SPACING_KEYS[name] for name in _spacing(found)}
    followed |= {NEGATIVE_ABOVE, EVERY_STEP} if _interval(found.parameters) else set()
    return [key for key in found.parameters if key not in FOLLOWED and key not in followed]


def from_picture(found: Infotext) -> float | None:
    """Return how much of a picture was given up, where `found` says that there was one to begin with."""
    given = found.parameters
    strength = _number(given.get("Denoising strength", ""), float)
    second = any(key in given for key in ("Hires upscale", "Hires resize"))
    return None if strength is None or second or not 0 < strength <= 1 else float(strength)


def mask(found: Infotext) -> dict[str, Any]:
    """Return how `found` says that a mask was painted in, as the choices of a recipe's mask."""
    given = found.parameters
    contents = {name: ours for ours, name in CONTENT_NAMES.items() if name}
    told: dict[str, Any] = {
        "blur": _number(given.get("Mask blur", ""), float),
        "invert": given.get("Mask mode") == "Inpaint not masked",
        "content": contents.get(given.get("Masked content", ""), "original"),
        "area": "masked" if given.get("Inpaint area") == "Only masked" else "whole",
        "padding": _number(given.get("Masked area padding", ""), int),
    }
    return {key: value for key, value in told.items() if value is not None}


def hashes(found: Infotext) -> dict[str, str]:
    """Return the 12 digits by which `found` names adapters and embeddings, by their names."""
    told = ", ".join(found.parameters.get(key, "") for key in ("Lora hashes", "TI hashes"))
    return {match[1].strip(): match[2].lower() for match in re.finditer(r"([^:,]+):\s*([0-9a-fA-F]{12})\b", told)}


def _solving(found: Infotext, sampler: str, schedule: str) -> dict[str, Any]:
    """Return what A1111's names of a sampler and a schedule mean, with everything that is implied there."""
    ours, levels = solver(sampler, schedule)
    theirs = found.program in A1111_LIKE
    if theirs and ours in FIXED:
        levels = FIXED[ours]
    elif theirs and ours and not levels:
        levels = "normal"  # before 1.9, which names the schedule whenever it is another
    options = _options(found, ours)
    if sampler.lower().startswith(HEUN.lower()):
        options["solver"] = "heun"
    implied = {"ComfyUI": DISCARDING_THERE}.get(found.program, DISCARDING if theirs else ())
    discards = ours in implied or found.parameters.get("Discard penultimate sigma") == "True"
    unit = (theirs and ours in UNIT) or found.parameters.get("SGM noise multiplier") == "True"
    return {
        "sampler": ours or None,
        "schedule": levels or None,
        "sampler_options": options or None,
        "schedule_options": _spacing(found) or None,
        "discard_penultimate": True if discards else None,
        "first_noise": "unit" if unit or (found.program == "ComfyUI" and ours != "ddim") else None,
    }


def _spacing(found: Infotext) -> dict[str, float]:
    """Return the options of the schedule that the text gives, as far as they count there and mean the same here.

    A1111's "Uniform", which older versions do not name, has none of them.
    """
    given = found.parameters
    sampler, schedule = solver(given.get("Sampler", ""), given.get("Schedule type", ""))
    if sampler in FIXED and found.program in A1111_LIKE:
        return {}
    told = {name: _number(given.get(SPACING_KEYS[name], ""), float) for name in SPACED.get(schedule, ())}
    return {name: float(value) for name, value in told.items() if value and 0 < value <= LARGEST[name]}


def _interval(given: Mapping[str, str]) -> dict[str, float] | None:
    """Return the levels with guidance, where the text says it of every step: A1111 keeps it at the level itself."""
    level = _number(given.get(NEGATIVE_ABOVE, ""), float)
    if given.get(EVERY_STEP) != "True" or not level or not 0 < level <= LARGEST["sigma_max"]:
        return None
    return {"low": math.nextafter(level, 0)}


def _options(found: Infotext, sampler: str) -> dict[str, Any]:
    if found.program not in (*A1111_LIKE, "Impasto", "ComfyUI"):
        return {}
    told: dict[str, Any] = {}
    for name in OPTIONS_OF.get(sampler, ()):
        text, kind = found.parameters.get(_option_key(name, sampler), ""), OPTION_KEYS[name][1]
        told[name] = _number(text, kind) if kind else text or None
    if told.get("s_tmax") == 0:
        told["s_tmax"] = None  # which is A1111's word for no limit
    return {name: value for name, value in told.items() if value is not None}


def _reading(found: Infotext) -> dict[str, Any]:
    """Return how the program that wrote `found` reads prompts, and what the text says of that."""
    given = found.parameters
    emphases = {name: ours for ours, name in EMPHASIS_NAMES.items() if name}
    clip_skip = _number(given.get("Clip skip", ""), int)
    if found.program == "ComfyUI":
        return {"emphasis": "comfy", "clip_skip": clip_skip if clip_skip and clip_skip > 1 else None}
    return {
        "prompt_rules": "a1111" if found.program in A1111_LIKE else None,
        "emphasis": emphases.get(given.get("Emphasis", "")),
        "clip_skip": clip_skip if clip_skip and clip_skip > 1 else None,
        "noise_delta": _number(given.get("ENSD", ""), int) or None,
        "zero_snr": "a1111" if given.get("Noise Schedule") == "Zero Terminal SNR" else None,
    }


def _noise(found: Infotext) -> str | None:
    """A1111 draws on the GPU and does not say so; its `NV` gives the same numbers, on any machine."""
    if found.program == "ComfyUI":
        return "comfyui"
    told = found.parameters.get("RNG", "GPU" if found.program in A1111_LIKE else "").upper()
    names = {"CPU": "a1111-cpu", "NV": "a1111-nv", "GPU": "a1111-nv", "CUDA": "a1111-nv", "COMFYUI": "comfyui"}
    return names.get(told)


def _variation(given: Mapping[str, str]) -> dict[str, Any] | None:
    seed, strength = (_number(given.get(key, ""), kind) for key, kind in VARIATION_KEYS)
    told: dict[str, Any] = {} if seed is None or not strength else {"seed": seed, "strength": strength}
    width, height = _size(given.get("Seed resize from", ""))
    return {**told, "width": width, "height": height} if width and height else told or None


def _hires(found: Infotext, width: int | None, height: int | None) -> dict[str, Any] | None:
    """Return the second pass that the text tells of; sides are rounded down to whole latents, as A1111 does."""
    given = found.parameters
    scale = _number(given.get("Hires upscale", ""), float)
    size = _size(given.get("Hires resize", ""))
    if width and height and scale and 0 < scale < 100:
        size = (int(width * scale) // 8 * 8, int(height * scale) // 8 * 8)
    if not all(size):
        return None
    upscalers = {name.lower(): ours for ours, name in UPSCALER_NAMES.items()}
    told = {
        "width": size[0],
        "height": size[1],
        "upscaler": upscalers.get(given.get("Hires upscaler", "").lower(), "lanczos"),
        "strength": _number(given.get("Denoising strength", ""), float),
        "steps": _number(given.get("Hires steps", ""), int) or None,
        **_second_solving(found),
        "prompt": given.get("Hires prompt"),
        "negative_prompt": given.get("Hires negative prompt"),
    }
    return {key: value for key, value in told.items() if value is not None}


def _second_solving(found: Infotext) -> dict[str, Any]:
    sampler, schedule = (found.parameters.get(key, "") for key in ("Hires sampler", "Hires schedule type"))
    if not sampler:
        return {"schedule": solver("", schedule)[1] or None}
    named = _solving(found, sampler, schedule or found.parameters.get("Schedule type", ""))
    # It begins with a picture, and spaces its levels as the first pass does.
    return {key: value for key, value in named.items() if key not in ("first_noise", "schedule_options")}


def solver(sampler: str, schedule: str) -> tuple[str, str]:
    """Return our names for A1111's `sampler` and `schedule`; before 1.9 the sampler's name ends with the schedule's."""
    samplers = {**OTHER_NAMES, **{name.lower(): ours for ours, name in SAMPLER_NAMES.items()}}
    schedules = {**OTHER_SCHEDULES, **{name.lower(): ours for ours, name in SCHEDULE_NAMES.items()}}
    first, _, last = sampler.rpartition(" ")
    if sampler.lower() not in samplers and last.lower() in schedules:
        sampler, schedule = first, schedule or last
    ours = samplers.get(sampler.lower(), sampler)
    if schedule.lower() == "automatic":
        schedule = AUTOMATIC.get(ours, "normal")
    return ours, schedule if schedule in OURS else schedules.get(schedule.lower(), schedule)


def _size(text: str) -> tuple[int | None, int | None]:
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    return (int(match[1]), int(match[2])) if match else (None, None)


def _number(text: str, kind: type[int] | type[float]) -> int | float | None:
    try:
        return kind(text[:40])
    except ValueError:
        return None
