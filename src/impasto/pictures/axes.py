"""What may change along the sides of a grid of pictures."""

from __future__ import annotations

FIELDS: dict[str, type] = {
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "steps": int,
    "guidance": float,
    "sampler": str,
    "schedule": str,
    "width": int,
    "height": int,
    "clip_skip": int,
    "noise": str,
    "seamless": str,
    "emphasis": str,
    "guidance_rescale": float,
}
"""Fields of a recipe that an axis may be, and what its values are; those of `prompt` are `placed`."""

INSIDE: dict[str, tuple[str, str, type]] = {
    "strength": ("start", "strength", float),
    "eta": ("sampler_options", "eta", float),
    "variation_strength": ("variation", "strength", float),
    "hires_strength": ("hires", "strength", float),
    "hires_steps": ("hires", "steps", int),
    "hires_upscaler": ("hires", "upscaler", str),
}
"""Axes that are fields within a field of a recipe: which one, what it is called there, and what its values are."""


def placed(prompt: str, value: str) -> str:
    """Return the `prompt` of a cell: with `value` in the place of every {}; `value` alone where there is none."""
    return prompt.replace("{}", value) if "{}" in prompt else value
