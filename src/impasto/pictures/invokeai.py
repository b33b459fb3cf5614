"""What InvokeAI (`invokeai_metadata`, before 3.0 `sd-metadata`) and NovelAI (`Comment`) write, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from impasto.pictures.infotext import Infotext

INVOKEAI_SAMPLERS = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "deis": "DEIS",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "kdpm_2": "DPM2",
    "kdpm_2_a": "DPM2 a",
    "lms": "LMS",
    "dpmpp_2s": "DPM++ 2S",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_3m": "DPM++ 3M",
    "pndm": "PLMS",
    "plms": "PLMS",
    "unipc": "UniPC",
    "lcm": "LCM",
}
NOVELAI_SAMPLERS = {
    "k_euler": "Euler",
    "k_euler_ancestral": "Euler a",
    "k_lms": "LMS",
    "k_heun": "Heun",
    "k_dpm_2": "DPM2",
    "k_dpm_2_ancestral": "DPM2 a",
    "k_dpmpp_2s_ancestral": "DPM++ 2S a",
    "k_dpmpp_2m": "DPM++ 2M",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE",
    "k_dpmpp_sde": "DPM++ SDE",
    "ddim": "DDIM",
    "plms": "PLMS",
}


def read_object(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`; an empty one when it is something else."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def read(text: str) -> Infotext | None:
    """Return what the `invokeai_metadata` `text` says, or None when it says nothing."""
    data = read_object(text)
    if not isinstance(data.get("positive_prompt"), str):
        return None
    sampler, schedule = _solver(data)
    model = data.get("model")
    named = model if isinstance(model, dict) else {"name": model}
    pairs = {
        "Steps": data.get("steps"),
        "Sampler": sampler,
        "Schedule type": schedule,
        "CFG scale": data.get("cfg_scale"),
        "Seed": data.get("seed"),
        "Size": _size(data),
        "Model hash": named.get("hash"),
        "Model": named.get("name") or named.get("model_name"),
        "Denoising strength": data.get("strength"),
        "RNG": "CPU" if data.get("rand_device") == "cpu" else None,
        "Version": data.get("app_version"),
    }
    return Infotext(data["positive_prompt"], _text(data.get("negative_prompt")), _given(pairs.items()), "InvokeAI")


def _solver(data: dict[str, Any]) -> tuple[str | None, str | None]:
    """A name that ends in `_k` is the same sampler with Karras' noise levels."""
    name = data.get("scheduler")
    if not isinstance(name, str):
        return None, None
    base = name.removesuffix("_k")
    return INVOKEAI_SAMPLERS.get(base, base), "Karras" if base != name else None


def read_old(text: str) -> Infotext | None:
    """Return what the `sd-metadata` `text` of InvokeAI 2 says, or None when it says nothing."""
    data = read_object(text)
    image = data.get("image")
    if not isinstance(image, dict):
        return None
    prompt = image.get("prompt")
    if isinstance(prompt, list):
        prompt = ", ".join(_text(part.get("prompt")) for part in prompt if isinstance(part, dict))
    if not isinstance(prompt, str):
        return None
    sampler = _text(image.get("sampler")).removeprefix("k_")
    pairs = {
        "Steps": image.get("steps"),
        "Sampler": INVOKEAI_SAMPLERS.get(sampler, sampler) or None,
        "CFG scale": image.get("cfg_scale"),
        "Seed": image.get("seed"),
        "Size": _size(image),
        "Model": data.get("model_weights"),
    }
    return Infotext(prompt, "", _given(pairs.items()), "InvokeAI")


def read_novelai(comment: str, description: str) -> Infotext | None:
    """Return what NovelAI's JSON `comment` says of the prompt in `description`, or None when it is not NovelAI's."""
    data = read_object(comment)
    prompt = data.get("prompt", description)
    if "sampler" not in data or not isinstance(prompt, str):
        return None
    sampler = _text(data["sampler"])
    pairs = {
        "Steps": data.get("steps"),
        "Sampler": NOVELAI_SAMPLERS.get(sampler, sampler),
        "CFG scale": data.get("scale"),
        "Seed": data.get("seed"),
        "Size": _size(data),
        "Denoising strength": data.get("strength"),
    }
    return Infotext(prompt, _text(data.get("uc")), _given(pairs.items()), "NovelAI")


def _size(data: dict[str, Any]) -> str | None:
    width, height = data.get("width"), data.get("height")
    return f"{width}x{height}" if isinstance(width, int) and isinstance(height, int) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _given(pairs: Iterable[tuple[str, Any]]) -> dict[str, str]:
    return {key: str(value) for key, value in pairs if isinstance(value, (str, int, float))}
