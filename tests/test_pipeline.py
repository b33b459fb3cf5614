"""From a recipe to a picture: determinism, batches, steps, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import impasto
from impasto import pipeline
from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS
from impasto.errors import InvalidInput, InvalidRecipe, NotFound, PictureFailed
from impasto.pictures import png
from impasto.pipeline import Model, Picture
from impasto.pipeline.words import Reading
from impasto.prompts.grammar import Run
from impasto.recipe import AdapterUse, Recipe
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import save_folder
from tests.weights import tiny

SETTINGS = Settings(steps=3, guidance=3.0, sampler="euler", schedule="normal")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_folder(path, tiny.networks(), About(name="tiny", settings=SETTINGS))
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return impasto.load(folder)


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.image).astype(int)


def same(one: Picture, other: Picture) -> bool:
    return one.image.tobytes() == other.image.tobytes()


def test_what_is_left_out_is_the_models_own(model: Model) -> None:
    recipe = model.recipe("a fox", seed=1)
    assert recipe == Recipe(
        model_name="tiny",
        model_digest=model.digest,
        prompt="a fox",
        seed=1,
        sampler="euler",
        schedule="normal",
        steps=3,
        guidance=3,
        width=64,
        height=64,
    )


@pytest.mark.parametrize(
    ("sampler", "schedule"), [*((name, "karras") for name in SAMPLERS), *(("euler", name) for name in SIGMAS)]
)
def test_the_same_recipe_gives_the_same_pixels(model: Model, sampler: str, schedule: str) -> None:
    choices: dict[str, Any] = {"seed": 1, "sampler": sampler, "schedule": schedule, "width": 16, "height": 16}
    (first,), (again,) = (model.generate("a fox", **choices) for _ in range(2))
    assert same(first, again)
    assert first.recipe == again.recipe
    assert pixels(first).std() > 1


def test_every_choice_changes_the_picture(model: Model) -> None:
    base: dict[str, Any] = {"prompt": "a fox", "seed": 1}
    changes: list[dict[str, Any]] = [
        {},
        {"prompt": "a box"},
        {"negative_prompt": "dark"},
        {"seed": 2},
        {"steps": 4},
        {"guidance": 4},
        {"sampler": "dpmpp_2m"},
        {"schedule": "karras"},
    ]
    made = [model.generate(**{**base, **change})[0].image.tobytes() for change in changes]
    assert len(set(made)) == len(changes)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m_sde"])
def test_a_count_changes_no_bit_and_a_batch_next_to_none(model: Model, sampler: str) -> None:
    alone = [model.generate("a fox", seed=1 + k, sampler=sampler)[0] for k in range(4)]
    counted = model.generate("a fox", seed=1, count=4, sampler=sampler)
    assert [picture.recipe for picture in counted] == [picture.recipe for picture in alone]
    assert all(map(same, counted, alone))
    for batch in (2, 3, 4):
        together = model.generate("a fox", seed=1, count=4, sampler=sampler, batch=batch)
        assert [picture.recipe for picture in together] == [picture.recipe for picture in alone]
        assert max(abs(pixels(a) - pixels(b)).max() for a, b in zip(together, alone, strict=True)) <= 1


def test_unlike_prompts_share_a_batch(model: Model) -> None:
    recipes = [model.recipe("a fox", seed=1), model.recipe("a house", negative_prompt="red", seed=9)]
    *_, last = model.steps(recipes)
    alone = [model.generate(r.prompt, negative_prompt=r.negative_prompt, seed=r.seed)[0] for r in recipes]
    for together, single in zip(model.pictures(last), alone, strict=True):
        assert together.recipe == single.recipe
        assert abs(pixels(together) - pixels(single)).max() <= 1


def test_steps_are_driven_by_the_caller(model: Model) -> None:
    steps = model.steps(model.recipe("a fox", seed=1, steps=5))
    first = next(steps)
    assert (first.step, first.steps, first.done) == (1, 5, False)
    assert first.latents.shape == first.x0.shape == (1, 4, 32, 32)
    assert len(model.pictures(first)) == 1  # a preview
    rest = list(steps)
    assert [step.step for step in rest] == [2, 3, 4, 5]
    assert rest[-1].done
    assert torch.is_grad_enabled()


def test_no_global_randomness_is_used(model: Model) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model.generate("a fox", seed=1, sampler="euler_ancestral")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_is_drawn_and_recorded(model: Model) -> None:
    first, second = (model.generate("a fox", steps=1)[0].recipe.seed for _ in range(2))
    assert first != second
    assert max(first, second) < 2**32


def test_sizes(model: Model) -> None:
    (picture,) = model.generate("a fox", seed=1, width=48, height=80)
    assert picture.image.size == (48, 80)
    assert (picture.recipe.width, picture.recipe.height) == (48, 80)


def test_a_picture_is_saved_with_its_recipe(model: Model, tmp_path: Path) -> None:
    (picture,) = model.generate("a fox", seed=1)
    picture.save(tmp_path / "fox.png")
    assert png.read_recipe(tmp_path / "fox.png") == picture.recipe
    *_, last = model.steps(png.read_recipe(tmp_path / "fox.png"))
    assert same(model.pictures(last)[0], picture)
    with pytest.raises(InvalidInput, match=r"\.png"):
        picture.save(tmp_path / "fox.bmp")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"guidance": -1}, "guidance"),
        ({"width": 12}, "width"),
        ({"seed": -1}, "seed"),
        ({"colour": "red"}, "colour"),
        ({"count": 0}, "0 pictures"),
        ({"count": 2, "seed": 2**53 - 1}, "2 pictures from seed"),
    ],
)
def test_values_that_cannot_be_used(model: Model, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        model.generate("a fox", **choices)


def test_a_batch_of_none_is_refused(model: Model) -> None:
    with pytest.raises(InvalidInput, match="batch of 0"):
        model.generate("a fox", batch=0)
    with pytest.raises(InvalidRecipe, match="no recipe"):
        model.steps([])


def test_unknown_names_list_what_there_is(model: Model) -> None:
    with pytest.raises(NotFound, match="dpmpp_2m"):
        model.generate("a fox", sampler="magic")
    with pytest.raises(NotFound, match="karras"):
        model.generate("a fox", schedule="magic")


def test_unlike_recipes_are_refused(model: Model) -> None:
    with pytest.raises(InvalidRecipe, match="steps, guidance"):
        model.steps([model.recipe("a fox"), model.recipe("a fox", steps=9, guidance=9)])


def test_recipes_for_something_else_are_refused(model: Model) -> None:
    recipe = model.recipe("a fox", seed=1)
    other = recipe.model_copy(update={"model_digest": "sha256:" + "0" * 64, "model_name": "other"})
    with pytest.raises(InvalidRecipe, match="for the model 'other'"):
        model.steps(other)
    with pytest.raises(InvalidRecipe, match="bfloat16"):
        model.steps(recipe.model_copy(update={"dtype": "bfloat16"}))
    adapter = AdapterUse(name="watercolour", identity=recipe.model_digest)
    with pytest.raises(NotFound, match="watercolour"):
        model.steps(recipe.model_copy(update={"adapters": (adapter,)}))


def test_another_models_recipe_runs_when_asked_for_and_tells_the_truth(model: Model) -> None:
    recipe = model.recipe("a fox", seed=1)
    other = recipe.model_copy(update={"model_digest": "sha256:" + "0" * 64, "model_name": "other", "dtype": "float16"})
    *_, last = model.steps(other, any_model=True)
    assert last.recipes == (recipe,)


def test_a_prompt_of_any_length_is_read_to_its_end(model: Model) -> None:
    pictures = [model.generate("fox " * 90 + last, seed=1, steps=1)[0] for last in ("owl", "cat")]
    assert not same(*pictures)


def test_prompts_are_read_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    words = pipeline.Words(model.networks.tokenizer, model.networks.text_encoder)
    calls = []
    read = words._read
    monkeypatch.setattr(words, "_read", lambda reading: calls.append(reading.text) or read(reading))
    for text in ("a", "b", "a", "b"):
        words(Reading(text, negative=False, run=Run(3)))
    assert calls == ["a", "b"]
    for number in range(2 * pipeline.REMEMBERED_TEXTS):
        words(Reading(str(number), negative=False, run=Run(3)))
    assert len(words._seen) <= pipeline.REMEMBERED_TEXTS


def test_half_precision(folder: Path) -> None:
    model = impasto.load(folder, dtype=torch.bfloat16)
    (picture,) = model.generate("a fox", seed=1, steps=2)
    assert picture.recipe.dtype == "bfloat16"
    assert picture.recipe.model_digest == impasto.load(folder).digest


def test_pixels_that_are_no_numbers_are_an_error(model: Model) -> None:
    with pytest.raises(PictureFailed, match="no numbers"):
        model.decode(torch.full((1, 4, 8, 8), torch.nan))


def test_networks_in_memory_make_pictures_too(model: Model) -> None:
    fresh = Model(tiny.networks(), About(name="tiny", settings=SETTINGS))
    assert fresh.digest == model.digest
    assert same(fresh.generate("a fox", seed=1)[0], model.generate("a fox", seed=1)[0])


def test_models_are_found_by_folder_or_name(folder: Path, tmp_path: Path) -> None:
    assert impasto.load(str(folder)).name == "tiny"
    with pytest.raises(NotFound, match="glyph"):
        impasto.load("nowhere")
    with pytest.raises(NotFound, match=r"model_index\.json"):
        impasto.load(tmp_path)


def test_devices() -> None:
    assert pipeline.find_device("cpu") == torch.device("cpu")
    assert pipeline.find_device("auto").type in ("cuda", "mps", "cpu")
    for name in ("tpu9", "cuda" if not torch.cuda.is_available() else "mps"):
        with pytest.raises(InvalidInput, match="auto, "):
            pipeline.find_device(name)


def test_an_inpainting_model_needs_a_picture() -> None:
    networks = tiny.networks()
    spec = networks.spec.model_copy(update={"unet": networks.spec.unet.model_copy(update={"in_channels": 9})})
    parts = (networks.tokenizer, networks.text_encoder, networks.unet, networks.vae)
    model = Model(type(networks)(spec, *parts), About(name="inpaint"))
    with pytest.raises(InvalidRecipe, match="fills in"):
        model.generate("a fox")
