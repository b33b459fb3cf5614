"""Adapters and embeddings that prompts call: found, named in the recipe, and gone again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import impasto
from impasto.adapters.attach import Use, fuse
from impasto.adapters.embeddings import Embedding, write_embedding
from impasto.adapters.lora import read_adapter, write_adapter
from impasto.errors import InvalidInput, InvalidRecipe, NotFound
from impasto.pipeline import Model, Picture
from impasto.pipeline.library import Library, cut
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import save_folder
from tests.adapters.random import adapter
from tests.weights import tiny

SETTINGS = Settings(steps=2, guidance=3.0, sampler="euler", schedule="karras")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shelf")
    save_folder(path / "tiny", tiny.networks(), About(name="tiny", settings=SETTINGS))
    for seed, name in enumerate(("ink", "wash")):
        made = adapter(tiny.networks(), seed=seed, name=name)
        write_adapter(made, path / f"{name}.safetensors", metadata={"ss_output_name": f"the {name}"})
    generator = torch.Generator().manual_seed(0)
    for name, size in (("style-x", 3), ("glow", 1)):
        rows = torch.randn(size, 32, generator=generator)
        write_embedding(Embedding(name, rows), path / "words" / f"{name}.safetensors")
    return path


@pytest.fixture(scope="module")
def model(shelf: Path) -> Model:
    adapters = [shelf / "ink.safetensors", shelf / "wash.safetensors"]
    return impasto.load(shelf / "tiny", adapters=adapters, embeddings=[shelf / "words"])


def make(model: Model, prompt: str, **choices: Any) -> Picture:
    return model.generate(prompt, **{"seed": 1, "width": 16, "height": 16, **choices})[0]


def test_a_prompt_calls_adapters_and_the_recipe_names_them(model: Model, shelf: Path) -> None:
    plain = make(model, "a fox")
    picture = make(model, "a fox<lora:ink:0.8:0.5> <lora:wash:dyn=1>")
    ink, wash = picture.recipe.adapters
    assert (ink.name, ink.weight, ink.text_encoder, ink.ranks) == ("ink", 0.5, 0.8, None)
    assert (wash.name, wash.weight, wash.text_encoder, wash.ranks) == ("wash", 1, None, 1)
    assert ink.identity == read_adapter(shelf / "ink.safetensors").digest
    assert picture.image.tobytes() != plain.image.tobytes()
    assert make(model, "a fox").image.tobytes() == plain.image.tobytes()
    *_, last = model.make(picture.recipe)
    assert last.made[0].image.tobytes() == picture.image.tobytes()


def test_it_is_the_picture_of_the_adapter_in_the_weights(model: Model, shelf: Path) -> None:
    picture = make(model, "a fox <lora:ink:0.8:0.5>")
    networks = tiny.networks()
    fused = fuse(networks, [Use(read_adapter(shelf / "ink.safetensors"), unet=0.5, text_encoder=0.8)])
    try:
        baked = Model(networks, About(name="baked", settings=SETTINGS)).generate("a fox ", seed=1, width=16, height=16)[
            0
        ]
    finally:
        fused.unfuse()
    apart = [abs(a - b) for a, b in zip(picture.image.tobytes(), baked.image.tobytes(), strict=True)]
    assert max(apart) <= 1
    assert picture.image.tobytes() != make(model, "a fox ").image.tobytes()


def test_adapters_are_not_on_the_model_while_the_caller_has_the_step(model: Model) -> None:
    x, t, context = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 4, 32)
    with torch.inference_mode():
        before = model.networks.unet(x, t, context)
        steps = model.steps(model.recipe("a fox <lora:ink>", seed=1, width=16, height=16))
        next(steps)
        assert torch.equal(model.networks.unet(x, t, context), before)


def test_adapters_as_choices_are_named_too_and_the_prompt_counts_more(model: Model) -> None:
    called = model.recipe("a fox <lora:ink:0.5>", seed=1)
    chosen = model.recipe("a fox <lora:ink:0.5>", seed=1, adapters=[{"name": "ink"}, {"name": "wash", "weight": 0.2}])
    assert [(use.name, use.weight) for use in chosen.adapters] == [("wash", 0.2), ("ink", 0.5)]
    assert model.recipe("a fox", adapters=[{"name": "ink", "weight": 0.5}]).adapters == called.adapters


def test_a_second_pass_has_adapters_of_its_own_prompt(model: Model) -> None:
    hires = {"width": 24, "height": 16, "prompt": "a fox <lora:wash>"}
    recipe = model.recipe("a fox <lora:ink>", seed=1, hires=hires, width=16, height=16)
    assert recipe.hires is not None
    assert [use.name for use in recipe.hires.adapters or ()] == ["wash"]
    same = model.recipe("a fox", seed=1, hires={**hires, "prompt": "an owl"}, adapters=[{"name": "ink"}])
    assert same.hires is not None
    assert same.hires.adapters is None


def test_embeddings_are_named_by_the_prompt(model: Model) -> None:
    picture = make(model, "a fox, Style-X", negative_prompt="embedding:glow")
    assert [use.name for use in picture.recipe.embeddings] == ["glow", "style-x"]
    assert picture.image.tobytes() != make(model, "a fox, style", negative_prompt="embedding:glow").image.tobytes()
    # A recipe that does not name it means the word.
    word = picture.recipe.model_copy(update={"embeddings": picture.recipe.embeddings[:1]})
    *_, last = model.make(word)
    assert last.made[0].image.tobytes() != picture.image.tobytes()


@pytest.mark.parametrize(
    ("prompt", "negative", "message"),
    [
        ("a fox <lora:inc>", "", r"unknown adapter 'inc'\. Choose among: ink, wash"),
        ("a fox embedding:shine", "", r"unknown embedding 'shine'\. Choose among: glow, style-x"),
        ("a fox <lora:ink:much>", "", "te is not a number"),
        ("a fox", "<lora:ink>", "Adapters belong in the prompt itself"),
    ],
)
def test_nothing_that_a_prompt_calls_is_passed_over(model: Model, prompt: str, negative: str, message: str) -> None:
    with pytest.raises((NotFound, InvalidRecipe), match=message):
        model.recipe(prompt, negative_prompt=negative)


def test_recipes_that_mean_something_else_are_refused(model: Model) -> None:
    recipe = model.recipe("a fox <lora:ink>, glow", seed=1)
    with pytest.raises(InvalidRecipe, match=r"calls <lora:ink>, which the recipe's adapters do not name"):
        model.steps(recipe.model_copy(update={"adapters": ()}))
    for key in ("adapters", "embeddings"):
        (use,) = getattr(recipe, key)
        other = use.model_copy(update={"identity": "sha256:" + "0" * 64})
        with pytest.raises(InvalidRecipe, match="would give another picture"):
            model.steps(recipe.model_copy(update={key: (other,)}))


def test_names(shelf: Path, tmp_path: Path) -> None:
    library = Library.of([shelf / "ink.safetensors"])
    assert library.adapter("the ink").digest == library.adapter("ink").digest
    assert library.known(["the ink", "nothing"]) == {"ink", "the ink"}
    (tmp_path / "ink.safetensors").write_bytes((shelf / "ink.safetensors").read_bytes())
    with pytest.raises(InvalidInput, match="Several adapters are called 'ink'"):
        Library.of([shelf / "ink.safetensors", tmp_path]).adapter("ink")
    with pytest.raises(NotFound, match="nowhere"):
        Library.of([tmp_path / "nowhere"])


def test_the_first_ranks_alone() -> None:
    whole = adapter(tiny.networks())
    (part, layers), *_ = whole.parts.items()
    path, change = next(iter(layers.items()))
    few = cut(whole, 1).parts[part][path]
    assert few.rank == 1
    assert few.scale == change.scale
    assert torch.equal(few.down, change.plain().down[:1])
