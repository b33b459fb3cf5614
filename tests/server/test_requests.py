"""What clients say, and the jobs that it means: the recipes are those of the library itself."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import impasto
from impasto.errors import InvalidInput, InvalidRecipe
from impasto.pipeline import Model
from impasto.recipe import Recipe
from impasto.server.jobs import NewJob
from impasto.server.models import Shelf
from impasto.server.pictures import Library
from impasto.server.requests import AXES, Desk, GenerateRequest, GridRequest, RequestRefused, UpscaleRequest
from impasto.server.settings import Limits
from tests.server.running import model_folder
from tests.server.test_pictures import kept


@pytest.fixture(scope="module")
def model(tiny_model: str) -> Model:
    return impasto.load(Path(tiny_model))


def asked(desk: Desk, **said: Any) -> NewJob:
    return desk.generate(GenerateRequest.model_validate({"prompt": "a fox", **said}))


def recipes(job: NewJob) -> list[Recipe]:
    return [Recipe.model_validate(recipe) for recipe in job.recipes]


def sent(library: Library, size: tuple[int, int] = (64, 64)) -> str:
    data = io.BytesIO()
    Image.linear_gradient("L").resize(size).save(data, format="PNG")
    return library.upload(data.getvalue(), 10**6, 10).id


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"count": 3},
        {"negative_prompt": "fog", "steps": 7, "guidance": 5.5, "width": 48, "height": 80},
        {"sampler": "DPM++ 2M Karras"},
        {"sampler": "DPM2", "tool": "a1111"},
        {"sampler": "uni_pc", "schedule": "beta", "tool": "comfyui"},
        {"schedule": "karras"},
        {"variation": {"seed": 4, "strength": 0.2}, "count": 2},
        {"seamless": "xy", "vae_tile": 64, "noise": "a1111-nv", "clip_skip": 2},
        {"prompt_rules": "a1111", "emphasis": "no_norm", "guidance_rescale": 0.5, "zero_snr": "a1111"},
        {"sampler": "euler_ancestral", "sampler_options": {"eta": 0.5}, "noise_delta": 31337},
        {"guidance_interval": {"low": 1.0, "high": 5.0}},
    ],
)
def test_a_request_means_what_the_library_means(desk: Desk, model: Model, said: dict[str, Any]) -> None:
    choices = {key: value for key, value in said.items() if key != "count"}
    expected = model.recipes("a fox", said.get("count", 1), seed=1, **choices)
    assert recipes(asked(desk, seed=1, **said)) == expected
    list(model.make(expected[0].model_copy(update={"steps": 1})))  # and it can be made


def test_every_choice_of_a_recipe_can_be_asked_for() -> None:
    identities = {"format", "model_name", "model_digest", "dtype", "draw", "embeddings"}
    assert Recipe.model_fields.keys() - identities <= GenerateRequest.model_fields.keys()


def test_without_a_seed_one_is_drawn_once(desk: Desk) -> None:
    first, second = (recipes(asked(desk, seed=seed, count=2)) for seed in (None, -1))
    assert first[1].seed == first[0].seed + 1
    assert first[0].seed != second[0].seed


def test_pictures_are_named_by_what_they_show(desk: Desk, library: Library) -> None:
    image, mask = sent(library), sent(library, (32, 32))
    job = asked(desk, start={"image": image, "strength": 0.5}, mask={"image": mask, "blur": 2, "area": "masked"})
    (recipe,) = recipes(job)
    assert recipe.start
    assert recipe.mask
    assert recipe.start.image == library.source(image)[1]
    assert (recipe.mask.image, recipe.mask.blur) == (library.source(mask)[1], 2)
    assert job.sources == (image, mask)
    assert job.alike is None


def test_a_second_pass_has_whole_latents(desk: Desk, model: Model) -> None:
    (recipe,) = recipes(asked(desk, width=40, height=72, hires={"scale": 1.5, "sampler": "Euler a"}))
    assert recipe.hires
    assert (recipe.hires.width, recipe.hires.height, recipe.hires.sampler) == (56, 104, "euler_ancestral")
    list(model.make(recipe))


@pytest.mark.parametrize(
    ("said", "field", "message"),
    [
        ({"width": 4096}, "width", "4096; 2048 pixels"),
        ({"hires": {"scale": 8}, "width": 512}, "hires.width", "4096; 2048"),
        ({"steps": 151}, "steps", "150 are the most"),
        ({"hires": {"scale": 2, "steps": 500}}, "hires.steps", "150"),
        ({"count": 33}, "count", "32"),
        ({"sampler": "magic"}, "sampler", "dpmpp_2m"),
        ({"model": "nobody"}, "model", "tiny"),
        ({"prompt": "a fox embedding:nobody"}, "prompt", "nobody"),
        ({"prompt": "a fox <lora:nobody:1>"}, "prompt", "nobody"),
        ({"start": {"image": "u" + "0" * 20}}, "start.image", "no upload"),
        ({"adapters": [{"id": "x"}]}, "adapters", "x|no adapters"),
    ],
)
def test_what_cannot_be_met_names_its_field(desk: Desk, said: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(RequestRefused, match=message) as refused:
        asked(desk, **said)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "said",
    [
        {"width": 12},
        {"mask": {}},
        {"clip_skip": 99},
        {"seed": 2**53 - 1, "count": 2},
        {"sampler": "dpmpp_2m", "sampler_options": {"eta": 0.5}},
    ],
)
def test_recipes_that_make_no_sense_are_refused_before_they_wait(desk: Desk, said: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecipe):
        asked(desk, **said)


@pytest.mark.parametrize(
    "said",
    [
        {"steps": True},
        {"steps": 0},
        {"count": 0},
        {"seed": -2},
        {"colour": "red"},
        {"width": "x"},
        {"priority": 101},
        {"prompt": None},
        {"start": {"image": "../../etc/passwd"}},
        {"hires": {}},
        {"hires": {"scale": 2, "width": 128, "height": 128}},
        {"guidance": float("nan")},
        {"prompt": "x" * 20_001},
        {"adapters": [{"id": "x"}] * 21},
    ],
)
def test_what_is_no_request(said: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        GenerateRequest.parse({"prompt": "a fox", **said}, "It")


def test_alike_requests_may_be_made_together(desk: Desk) -> None:
    one, other = asked(desk, count=2), asked(desk, prompt="an owl", negative_prompt="fog", seed=9)
    assert one.alike == other.alike is not None
    assert asked(desk, steps=9).alike != one.alike


def test_a_grid_has_a_picture_a_cell_row_by_row_and_sheets(desk: Desk) -> None:
    axes = [
        {"name": "steps", "values": [2, 3]},
        {"name": "guidance", "values": [4, 5.5]},
        {"name": "seed", "values": [7, 8]},
    ]
    job = desk.grid(GridRequest.model_validate({"request": {"prompt": "a fox"}, "axes": axes}))
    cells = [(recipe.seed, recipe.guidance, recipe.steps) for recipe in recipes(job)]
    assert cells == [(7, 4, 2), (7, 4, 3), (7, 5.5, 2), (7, 5.5, 3), (8, 4, 2), (8, 4, 3), (8, 5.5, 2), (8, 5.5, 3)]
    first, second = job.sheets
    assert (first["columns"], first["rows"]) == (["steps 2", "steps 3"], ["guidance 4", "guidance 5.5"])
    assert (first["cells"], second["cells"]) == ([0, 1, 2, 3], [4, 5, 6, 7])
    assert (first["title"], second["title"]) == ("a fox  (seed 7)", "a fox  (seed 8)")
    assert "steps" not in first["subtitle"]


def test_all_cells_have_one_seed_and_words_take_their_place(desk: Desk) -> None:
    said = {"request": {"prompt": "a {} fox"}, "axes": [{"name": "prompt", "values": ["red", "blue"]}]}
    first, second = recipes(desk.grid(GridRequest.model_validate(said)))
    assert (first.prompt, second.prompt) == ("a red fox", "a blue fox")
    assert first.seed == second.seed


def test_every_axis_is_a_field_of_a_request() -> None:
    assert AXES.keys() <= GenerateRequest.model_fields.keys()


@pytest.mark.parametrize(
    "axes",
    [
        [],
        [{"name": "steps", "values": []}],
        [{"name": "steps", "values": ["x"]}],
        [{"name": "steps", "values": [True]}],
        [{"name": "model", "values": ["x"]}],
        [{"name": "steps", "values": [1]}, {"name": "steps", "values": [2]}],
        [{"name": "steps", "values": [1]}] * 4,
    ],
)
def test_what_is_no_grid(axes: list[Any]) -> None:
    with pytest.raises(InvalidInput):
        GridRequest.parse({"request": {"prompt": "a"}, "axes": axes}, "It")


@pytest.mark.parametrize(
    ("request_", "axes", "field"),
    [
        ({"count": 2}, [{"name": "steps", "values": [1]}], "count"),
        ({}, [{"name": "steps", "values": [1, 151]}], "steps"),
        ({}, [{"name": "width", "values": [0]}], "axes"),
        ({}, [{"name": "seed", "values": list(range(11))}, {"name": "steps", "values": list(range(1, 11))}], "axes"),
    ],
)
def test_a_grid_that_cannot_be_made(desk: Desk, request_: dict[str, Any], axes: list[Any], field: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        desk.grid(GridRequest.model_validate({"request": {"prompt": "a", **request_}, "axes": axes}))
    assert refused.value.field == field


def test_a_picture_grows_from_its_pixels_or_from_its_first_pass(desk: Desk, library: Library, model: Model) -> None:
    recipe = model.recipe("a fox", seed=1)
    digest = {"height": 48, "model_digest": model.digest, "pixels": "sha256:" + "a" * 64}
    saved = library.get(kept(library._database, library, recipe=recipe.plain(), **digest))
    (larger,) = recipes(desk.upscale(saved, UpscaleRequest()))
    assert larger.start
    assert (larger.width, larger.height, larger.start.image) == (128, 96, saved.pixels)
    (again,) = recipes(desk.upscale(saved, UpscaleRequest(upscaler="latent", scale=3)))
    assert again.hires
    assert (again.width, again.hires.width, again.hires.height) == (64, 192, 144)
    from_another = saved.model_copy(update={"recipe": larger.plain()})
    with pytest.raises(RequestRefused, match="lanczos"):
        desk.upscale(from_another, UpscaleRequest(upscaler="latent"))
    with pytest.raises(RequestRefused, match="2048"):
        desk.upscale(saved.model_copy(update={"width": 1200}), UpscaleRequest())
    with pytest.raises(RequestRefused, match="sheet"):
        desk.upscale(saved.model_copy(update={"recipe": None}), UpscaleRequest())


def test_models_are_found_by_any_of_their_names(tmp_path: Path, tiny_model: str) -> None:
    shelf = Shelf([tiny_model, model_folder(tmp_path, "my model"), model_folder(tmp_path / "again", "tiny")])
    first, second, third = shelf
    assert (first.info.id, second.info.id) == ("tiny", "my-model")
    assert third.info.id == f"tiny-{third.info.short_hash}"
    for name in (None, "tiny", first.info.digest, first.info.short_hash, first.info.short_hash.upper()):
        assert shelf.find(name) is first
    assert shelf.find("my model") is shelf.find("my-model") is second


def test_a_model_on_paper_takes_no_memory_and_writes_the_same_recipes(shelf: Shelf, model: Model) -> None:
    paper = shelf.default.paper
    assert {weight.device.type for weight in paper.networks.unet.parameters()} == {"meta"}
    assert (paper.digest, paper.dtype) == (model.digest, model.dtype)
    assert paper.recipe("a fox", seed=1) == model.recipe("a fox", seed=1)


def test_limits_are_the_servers_own(shelf: Shelf, library: Library) -> None:
    desk = Desk(shelf, library, Limits(max_count=1, max_side=64, max_steps=2))
    assert asked(desk)
    for said in ({"count": 2}, {"width": 72}, {"steps": 3}):
        with pytest.raises(RequestRefused):
            asked(desk, **said)
