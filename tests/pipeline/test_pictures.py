"""Pictures from pictures, second passes, variations, tiles, seams: through a whole tiny model."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.errors import InvalidInput, InvalidRecipe, PictureFailed
from impasto.pictures.origin import pixels_digest
from impasto.pipeline import Model, Picture
from impasto.pipeline.beginnings import Beginning
from impasto.pipeline.passes import passes
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import Networks
from tests.pipeline.inpainting import inpainting
from tests.weights import tiny

SETTINGS = Settings(steps=4, guidance=3.0, sampler="euler", schedule="normal")
PICTURE = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
MASK = Image.new("L", (64, 64))
MASK.paste(255, (16, 24, 48, 56))
START: dict[str, Any] = {"image": pixels_digest(PICTURE), "strength": 0.5}
PAINT: dict[str, Any] = {"image": pixels_digest(MASK), "blur": 0}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(tiny.networks(), About(name="tiny", settings=SETTINGS))


@pytest.fixture(scope="module")
def painter() -> Model:
    return Model(inpainting(), About(name="painter", settings=SETTINGS))


def make(model: Model, **choices: Any) -> Picture:
    return model.generate("a fox", **{"seed": 1, "sources": [PICTURE, MASK], **choices})[0]


def array(picture: Picture | Image.Image) -> np.ndarray:
    return np.asarray(picture.image if isinstance(picture, Picture) else picture).astype(int)


def test_every_choice_about_how_changes_the_picture(model: Model) -> None:
    prompt = "a (red:1.4) fox at 3:2 [and:an owl:0.5] "
    base: dict[str, Any] = {"prompt": prompt, "sampler": "dpmpp_2m_sde", "width": 16, "height": 16, "seed": 1}
    changes: list[dict[str, Any]] = [
        {},
        {"clip_skip": 2},
        {"emphasis": "no_norm"},
        {"emphasis": "comfy"},
        {"emphasis": "ignore"},
        {"emphasis": "none"},
        {"prompt_rules": "a1111"},
        {"sampler_options": {"eta": 0.5}},
        {"sampler_options": {"s_noise": 1.1}},
        {"sampler_options": {"solver": "heun"}},
        {"discard_penultimate": True},
        {"first_noise": "unit"},
        {"guidance_rescale": 0.7},
        {"guidance_interval": {"low": 1.0}},
        {"schedule": "karras", "schedule_options": {"rho": 5}},
        {"schedule": "karras", "schedule_options": {"sigma_max": 9}},
        {"guidance_interval": {"low": 0.0, "high": 1.0}},
        {"noise": "comfyui"},
        {"noise": "comfyui", "draw": {"count": 3, "row": 1}},
        {"noise_delta": 31337},
        {"zero_snr": "diffusers"},
        {"zero_snr": "a1111"},
        {"hires": {"width": 24, "height": 16}},
        {"hires": {"width": 24, "height": 16, "prompt": "an owl"}},
        {"hires": {"width": 24, "height": 16, "negative_prompt": "an owl"}},
        {"hires": {"width": 24, "height": 16, "sampler": "dpmpp_2m_sde", "sampler_options": {"eta": 0}}},
        {"hires": {"width": 24, "height": 16, "sampler": "dpmpp_2m_sde", "discard_penultimate": True}},
    ]
    made = [model.generate(**{**base, **change})[0].image.tobytes() for change in changes]
    assert len(set(made)) == len(changes)


def test_every_choice_changes_the_picture_and_none_the_next_one(model: Model) -> None:
    other = Image.new("RGB", (64, 64), "red")
    base = {"start": START, "mask": PAINT}
    changes: list[dict[str, Any]] = [
        {},
        {"variation": {"seed": 2, "strength": 0.3}},
        {"variation": {"width": 32, "height": 32}},
        {"noise": "a1111-nv"},
        {"seamless": "x"},
        {"seamless": "y"},
        {"seamless": "xy"},
        {"hires": {"width": 96, "height": 64}},
        {"hires": {"width": 96, "height": 64, "upscaler": "lanczos"}},
        {"hires": {"width": 96, "height": 64, "upscaler": "latent-nearest"}},
        {"hires": {"width": 96, "height": 64, "strength": 0.4}},
        {"hires": {"width": 96, "height": 64, "steps": 2, "sampler": "heun", "schedule": "karras"}},
        {"start": START},
        {"start": {**START, "strength": 1.0}},
        {"start": {**START, "counting": "a1111"}},
        {"start": {**START, "counting": "exact"}},
        {"start": {**START, "image": pixels_digest(other)}, "sources": [other]},
        base,
        {**base, "mask": {**PAINT, "invert": True}},
        {**base, "mask": {**PAINT, "blur": 4}},
        {**base, "mask": {**PAINT, "content": "fill"}},
        {**base, "mask": {**PAINT, "content": "noise"}},
        {**base, "mask": {**PAINT, "content": "nothing"}},
        {**base, "mask": {**PAINT, "area": "masked", "padding": 4}},
        {**base, "extension": {"left": 32}},
    ]
    before = make(model).image.tobytes()
    made = [make(model, **change) for change in changes]
    assert len({picture.image.tobytes() for picture in made}) == len(changes)
    assert made[0].image.tobytes() == make(model).image.tobytes() == before
    assert {picture.image.size for picture in made} == {(64, 64), (96, 64)}


def test_a_little_strength_changes_a_little(model: Model) -> None:
    little, much = (make(model, steps=20, start={**START, "strength": s}) for s in (0.05, 1.0))
    encoded = model.decode(model.encode(PICTURE))[0]
    assert abs(array(little) - array(encoded)).mean() < abs(array(much) - array(encoded)).mean()


@pytest.mark.parametrize("kind", ["model", "painter"])
def test_what_is_not_masked_stays(request: pytest.FixtureRequest, kind: str) -> None:
    picture = make(request.getfixturevalue(kind), start={**START, "strength": 1}, mask=PAINT)
    kept = array(MASK) == 0
    assert (array(picture)[kept] == array(PICTURE)[kept]).all()
    assert (array(picture)[~kept] != array(PICTURE)[~kept]).mean() > 0.5


def test_the_masked_part_alone_and_outpainting(model: Model) -> None:
    large = PICTURE.resize((192, 128))
    mask = Image.new("L", (192, 128))
    mask.paste(255, (20, 20, 40, 40))
    start = {"image": pixels_digest(large), "strength": 0.5}
    choices: dict[str, Any] = {"image": pixels_digest(mask), "blur": 0, "area": "masked", "padding": 8}
    part = make(model, start=start, mask=choices, sources=[large, mask])
    assert part.image.size == (192, 128)
    assert (array(part)[:, 60:] == array(large)[:, 60:]).all()
    wide = make(model, width=128, start=START, mask={"blur": 0}, extension={"left": 64})
    assert wide.image.size == (128, 64)
    assert (array(wide)[:, 64:] == array(PICTURE)).all()


def test_an_inpainting_model_sees_the_mask(painter: Model) -> None:
    other = Image.new("L", (64, 64))
    other.paste(255, (0, 0, 48, 56))
    one, two = (
        make(painter, start=START, mask={"image": pixels_digest(mask), "blur": 0}, sources=[PICTURE, mask])
        for mask in (MASK, other)
    )
    inside = array(MASK) > 0
    assert (array(one)[inside] != array(two)[inside]).any()


def test_a_second_pass_is_counted(model: Model) -> None:
    steps = list(model.make(model.recipe("a fox", seed=1, hires={"width": 96, "height": 96, "steps": 3})))
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6, 7]
    assert [step.done for step in steps] == [False] * 6 + [True]
    assert steps[3].latents.shape[2:] == (32, 32)
    assert steps[-1].latents.shape[2:] == (48, 48)
    assert [len(step.made) for step in steps] == [0] * 6 + [1]


def test_a_second_pass_by_another_model(model: Model) -> None:
    networks = tiny.networks()
    parts = {name: copy.deepcopy(getattr(networks, name)) for name in ("unet", "vae")}
    for part in parts.values():
        for parameter in part.parameters():
            parameter.mul_(0.9)
    other = Model(replace(networks, **parts), About(name="other", settings=SETTINGS))
    both = model.followed_by(other)
    named = {"name": "other", "identity": other.digest}
    hires = {"width": 24, "height": 16, "strength": 0.5}
    size = {"width": 16, "height": 16}
    for upscaler in ("latent", "lanczos"):
        plain = make(both, hires={**hires, "upscaler": upscaler}, **size)
        assert plain.image.tobytes() == make(model, hires={**hires, "upscaler": upscaler}, **size).image.tobytes()
        followed = make(both, hires={**hires, "upscaler": upscaler, "model": named}, **size)
        assert followed.image.tobytes() != plain.image.tobytes()
    # The other model's own second pass on the same first one is the same picture.
    *_, first = model.steps(model.recipe("a fox", seed=1, **size))
    begun = Beginning(F.interpolate(first.latents, (8, 12), mode="bilinear"))
    recipe = model.recipe("a fox", seed=1, hires={**hires, "model": named}, **size)
    second = passes(recipe, other.schedule, other.schedule, 2)[1]
    with torch.inference_mode():
        *_, last = other._run((recipe,), second, begun)
    assert other.decode(last.x)[0].tobytes() == make(both, hires={**hires, "model": named}, **size).image.tobytes()
    with pytest.raises(InvalidRecipe, match="second pass is by 'other'"):
        make(model, hires={**hires, "model": named}, **size)
    with pytest.raises(InvalidInput, match="cannot take over from tiny"):
        model.followed_by(Model(inpainting(), About(name="painter", settings=SETTINGS)))


def test_variations_count_up_and_lie_between(model: Model) -> None:
    recipes = model.recipes("a fox", 3, seed=1, variation={"seed": 5, "strength": 0.1})
    assert [(r.seed, r.variation and r.variation.seed) for r in recipes] == [(1, 5), (1, 6), (1, 7)]
    near = make(model, variation={"seed": 5, "strength": 0.05})
    other = make(model, seed=5)
    assert make(model, variation={"seed": 5, "strength": 0}).image.tobytes() == make(model).image.tobytes()
    assert abs(array(near) - array(make(model))).mean() < abs(array(other) - array(make(model))).mean()
    assert abs(array(make(model, variation={"seed": 5, "strength": 1})) - array(other)).max() <= 1


def test_tiles_change_little(model: Model) -> None:
    whole = make(model, width=192, height=128)
    tiles = make(model, width=192, height=128, vae_tile=64)
    assert tiles.recipe.vae_tile == 64
    apart = abs(array(whole) - array(tiles))
    assert 0 < apart.mean() < 16


def test_previews(model: Model) -> None:
    first = next(model.steps(model.recipe("a fox", seed=1)))
    assert model.preview is model.preview
    (small,) = model.preview(first.x0)
    assert small.size == (32, 32)


def test_what_a_recipe_needs(model: Model, painter: Model) -> None:
    with pytest.raises(InvalidRecipe, match="start image"):
        make(model, start=START, sources=[])
    with pytest.raises(InvalidRecipe, match="fills in"):
        make(painter)


def overflowing() -> Networks:
    """Return networks in half precision whose UNet overflows there and not in float32."""
    networks = tiny.networks()
    parts = {name: copy.deepcopy(getattr(networks, name)) for name in ("text_encoder", "unet", "vae")}
    parts["unet"].conv_in.weight.mul_(3e5)
    parts["unet"].conv_in.weight.clamp_(-6e4, 6e4)
    parts = {name: part.half() for name, part in parts.items()}
    return replace(networks, **parts)


def test_half_precision_that_fails_is_made_again_in_float32() -> None:
    model = Model(overflowing(), About(name="hot", settings=SETTINGS))
    with pytest.warns(RuntimeWarning, match="hot failed in float16"):
        (picture,) = model.generate("a fox", seed=1, width=32, height=32, steps=2)
    assert picture.recipe.dtype == "float32"
    assert picture.recipe.model_digest == model.digest
    assert np.isfinite(array(picture)).all()
    with pytest.raises(PictureFailed, match="Load it in float32"):
        list(model.steps(model.recipe("a fox", seed=1, width=32, height=32, steps=2)))


def test_float32_that_fails_fails() -> None:
    networks = overflowing()
    networks.unet.float().conv_in.weight.fill_(torch.nan)
    broken = Model(replace(tiny.networks(), unet=networks.unet), About(name="broken", settings=SETTINGS))
    with pytest.raises(PictureFailed, match="broken in float32"):
        broken.generate("a fox", seed=1, steps=1)
