"""Infotext as A1111 writes it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from impasto import __version__
from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS
from impasto.pictures import infotext
from impasto.recipe import Recipe

FOX: dict[str, Any] = {
    "model_name": "glyph",
    "model_digest": "sha256:" + "ab" * 32,
    "prompt": "a red fox",
    "seed": 965400086,
    "sampler": "dpmpp_2m",
    "schedule": "karras",
    "steps": 20,
    "guidance": 7,
    "width": 512,
    "height": 768,
}

# How A1111 reads the last line back.
PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def test_the_whole_text() -> None:
    recipe = Recipe(**FOX, negative_prompt="blurry,\ndark")
    assert infotext.write(recipe) == (
        "a red fox\n"
        "Negative prompt: blurry,\ndark\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, "
        f"Model hash: ababababab, Model: glyph, RNG: CPU, Version: Impasto {__version__}"
    )


def test_no_line_for_an_empty_negative_prompt() -> None:
    assert "Negative" not in infotext.write(Recipe(**FOX))


@pytest.mark.parametrize(("guidance", "text"), [(7.0, "7"), (7.5, "7.5"), (0.1, "0.1"), (100.0, "100"), (0.0, "0")])
def test_guidance(guidance: float, text: str) -> None:
    assert f"CFG scale: {text}," in infotext.write(Recipe(**{**FOX, "guidance": guidance}))


@pytest.mark.parametrize("name", ["a, b", "a: b", 'a "b"', 'say "a", b', "two\nlines", "plain"])
def test_values_survive_the_reader(name: str) -> None:
    line = infotext.write(Recipe(**{**FOX, "model_name": name})).removeprefix("a red fox\n")
    assert "\n" not in line
    pairs = dict(PAIR.findall(line))
    value = pairs["Model"]
    assert value == name or infotext.json.loads(value) == name
    assert pairs["Version"] == f"Impasto {__version__}"


def test_every_sampler_and_schedule_has_a_name_there() -> None:
    assert infotext.SAMPLER_NAMES.keys() == SAMPLERS.keys()
    assert infotext.SCHEDULE_NAMES.keys() == SIGMAS.keys()
