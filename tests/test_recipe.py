"""Recipes: validation, the canonical round trip, digests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import InvalidRecipe
from impasto.recipe import MAX_SEED, AdapterUse, Recipe

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
SIDES = st.integers(1, 1024).map(lambda n: 8 * n)
RECIPES = st.builds(
    Recipe,
    model_name=NAMES,
    model_digest=DIGESTS,
    prompt=TEXTS,
    negative_prompt=TEXTS,
    seed=st.integers(0, MAX_SEED),
    sampler=NAMES,
    schedule=NAMES,
    steps=st.integers(1, 1000),
    guidance=st.floats(0, 100),
    width=SIDES,
    height=SIDES,
    dtype=st.sampled_from(["float32", "bfloat16", "float16"]),
    adapters=st.lists(st.builds(AdapterUse, name=NAMES, identity=DIGESTS, weight=st.floats(-100, 100)), max_size=2).map(
        tuple
    ),
)

FOX: dict[str, Any] = {
    "model_name": "glyph",
    "model_digest": "sha256:" + "0" * 64,
    "prompt": "a red fox",
    "seed": 7,
    "sampler": "dpmpp_2m",
    "schedule": "karras",
    "steps": 25,
    "guidance": 4.0,
    "width": 128,
    "height": 128,
}


LATER: dict[str, Any] = {
    "start": {"image": "sha256:" + "1" * 64, "strength": 0.5, "counting": "a1111"},
    "mask": {"image": "sha256:" + "2" * 64, "blur": 2, "content": "fill", "area": "masked"},
    "extension": {"left": 64},
    "variation": {"seed": 3, "strength": 0.25},
    "seamless": "x",
    "vae_tile": 512,
    "embeddings": [{"name": "glow", "identity": "sha256:" + "3" * 64}],
    "prompt_rules": "a1111",
    "emphasis": "no_norm",
    "clip_skip": 2,
    "sampler_options": {"eta": 0.5},
    "discard_penultimate": True,
    "first_noise": "unit",
    "guidance_rescale": 0.7,
    "guidance_interval": {"low": 0.5, "high": 5.0},
    "noise_delta": 31337,
    "zero_snr": "a1111",
    "schedule_options": {"rho": 5.0, "sigma_min": 0.1},
}


def test_what_came_later_is_in_the_digest_only_when_it_is_set() -> None:
    plain, full = Recipe(**FOX), Recipe(**FOX, **LATER)
    assert not set(plain.plain()) & set(LATER)
    assert set(full.plain()) == set(plain.plain()) | set(LATER)
    assert Recipe.from_json(full.canonical()) == full
    digests = {Recipe(**FOX, start=LATER["start"], **{key: LATER[key]}).digest for key in LATER if key != "start"}
    assert len(digests) == len(LATER) - 1
    hires = Recipe(**FOX, hires={"width": 256, "height": 256})
    assert Recipe.from_json(hires.canonical()) == hires
    assert hires.digest != plain.digest


def test_what_came_later_in_a_part_keeps_its_digest_too() -> None:
    use = {"name": "ink", "identity": "sha256:" + "1" * 64, "weight": 0.5}
    plain = Recipe(**FOX, adapters=[use], hires={"width": 256, "height": 256})
    data = plain.plain()
    assert data["adapters"] == [use]
    assert data["hires"].keys() == {"width", "height", "upscaler", "strength", "steps", "sampler", "schedule"}
    # The same weight said twice is the same recipe.
    assert Recipe(**FOX, adapters=[{**use, "text_encoder": 0.5}], hires=data["hires"]).digest == plain.digest
    for change in ({"text_encoder": 0.25}, {"ranks": 4}):
        other = Recipe(**FOX, adapters=[{**use, **change}], hires=data["hires"])
        assert other.digest != plain.digest
        assert Recipe.from_json(other.canonical()) == other
    other = {"name": "other", "identity": "sha256:" + "2" * 64}
    second = Recipe(**FOX, hires={**data["hires"], "prompt": "an owl", "adapters": [use], "model": other})
    assert (second.plain()["hires"]["adapters"], second.plain()["hires"]["model"]) == ([use], other)
    assert Recipe.from_json(second.canonical()) == second


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"guidance_interval": {"low": 5, "high": 1}}, "is empty"),
        ({"draw": {"count": 2, "row": 1}}, "that of comfyui"),
        ({"noise": "comfyui", "draw": {"count": 2, "row": 2}}, "no row 2 of 2"),
        ({"noise": "comfyui", "noise_delta": 1}, "do not go with the noise of comfyui"),
        ({"hires": {"width": 256, "height": 256, "discard_penultimate": True}}, "name it"),
        ({"mask": LATER["mask"]}, "need a start"),
        ({"extension": LATER["extension"]}, "need a start"),
        ({"start": LATER["start"], "mask": {}}, "mask needs an image"),
        ({"start": LATER["start"], "mask": LATER["mask"], "hires": {"width": 256, "height": 256}}, "paint first"),
        ({"start": {**LATER["start"], "strength": 0}}, "strength"),
        ({"seamless": "z"}, "seamless"),
        ({"vae_tile": 100}, "vae_tile"),
        ({"variation": {"seed": 1, "strength": 2}}, "strength"),
        ({"extension": {"left": 3}, "start": LATER["start"]}, "left"),
    ],
)
def test_parts_that_do_not_go_together(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        Recipe.parse({**FOX, **fields}, "fox.json", InvalidRecipe)


@given(RECIPES)
def test_canonical_json_round_trip(recipe: Recipe) -> None:
    again = Recipe.from_json(recipe.canonical())
    assert again == recipe
    assert again.canonical() == recipe.canonical()
    assert again.digest == recipe.digest


@given(RECIPES, RECIPES)
def test_digests_differ_as_recipes_do(one: Recipe, other: Recipe) -> None:
    assert (one.digest == other.digest) == (one == other)


def test_the_canonical_form_is_pinned() -> None:
    recipe = Recipe(**FOX)
    assert recipe.canonical() == (
        b'{"adapters":[],"dtype":"float32","format":"impasto-recipe/1","guidance":4,"height":128,'
        b'"model_digest":"sha256:' + b"0" * 64 + b'","model_name":"glyph","negative_prompt":"","noise":"image",'
        b'"prompt":"a red fox","sampler":"dpmpp_2m","schedule":"karras","seed":7,"steps":25,"width":128}'
    )
    assert recipe.digest == f"sha256:{hashlib.sha256(recipe.canonical()).hexdigest()}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("seed", MAX_SEED + 1),
        ("seed", 1.5),
        ("seed", True),
        ("steps", 0),
        ("steps", 1001),
        ("guidance", -0.1),
        ("guidance", 101),
        ("guidance", float("nan")),
        ("guidance", float("inf")),
        ("width", 0),
        ("width", 100),
        ("height", 8200),
        ("dtype", "int8"),
        ("noise", "dice"),
        ("format", "impasto-recipe/2"),
        ("model_digest", "0" * 64),
        ("model_digest", "sha256:" + "A" * 64),
        ("sampler", ""),
        ("prompt", "x" * 20_001),
        ("prompt", "\ud800"),
        ("prompt", None),
        ("colour", "red"),
    ],
)
def test_refusals_name_the_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidRecipe, match=field):
        Recipe.parse({**FOX, field: value}, "fox.json", InvalidRecipe)


def test_a_refusal_lists_every_problem() -> None:
    with pytest.raises(InvalidRecipe) as caught:
        Recipe.parse({**FOX, "steps": 0, "width": 100}, "fox.json", InvalidRecipe)
    assert "fox.json" in str(caught.value)
    assert "steps" in str(caught.value)
    assert "width" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"fox"', b"\xff", "[" * 100_000])
def test_other_text_is_no_recipe(text: str | bytes) -> None:
    with pytest.raises(InvalidRecipe, match=r"fox\.json"):
        Recipe.from_json(text, "fox.json")


def test_a_recipe_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe(**FOX).seed = 8  # type: ignore[misc]


def test_plain_is_json() -> None:
    assert json.loads(json.dumps(Recipe(**FOX).plain())) == Recipe(**FOX).plain()
