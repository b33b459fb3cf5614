"""A recipe as the text that A1111's web UI writes into its pictures, so that other programs can read it.

Format: the prompt, `Negative prompt: ...` when there is one, and one line of `Key: value` pairs. A value is quoted like
a JSON string when it has a comma, a line break or a colon in it.
"""

from __future__ import annotations

import json

from impasto import __version__
from impasto.recipe import Recipe

SAMPLER_NAMES = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "ddim": "DDIM",
}
SCHEDULE_NAMES = {"normal": "Normal", "karras": "Karras", "exponential": "Exponential"}


def write(recipe: Recipe) -> str:
    """Return the infotext of `recipe`; names without a counterpart there stand as they are here."""
    pairs = {
        "Steps": recipe.steps,
        "Sampler": SAMPLER_NAMES.get(recipe.sampler, recipe.sampler),
        "Schedule type": SCHEDULE_NAMES.get(recipe.schedule, recipe.schedule),
        "CFG scale": f"{recipe.guidance:.10g}",
        "Seed": recipe.seed,
        "Size": f"{recipe.width}x{recipe.height}",
        "Model hash": recipe.model_digest.removeprefix("sha256:")[:10],
        "Model": recipe.model_name,
        "RNG": "CPU",
        "Version": f"Impasto {__version__}",
    }
    parameters = ", ".join(f"{key}: {_quoted(str(value))}" for key, value in pairs.items())
    negative = [f"Negative prompt: {recipe.negative_prompt}"] if recipe.negative_prompt else []
    return "\n".join([recipe.prompt, *negative, parameters])


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ",\n:") else value
