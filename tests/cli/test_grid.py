"""`impasto grid`, as a person calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from impasto.cli import main
from impasto.cli.grid import Base, axis
from impasto.errors import InvalidInput
from impasto.pictures import png
from impasto.pipeline import Model
from impasto.recipe import Recipe
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import save_folder
from tests.weights import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_folder(path, tiny.networks(), About(name="tiny", settings=Settings(steps=1)))
    return str(path)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("steps=10,20", ("steps", [10, 20])),
        ("seed=1:4", ("seed", [1, 2, 3, 4])),
        ("guidance=2:8:4", ("guidance", [2.0, 4.0, 6.0, 8.0])),
        ("negative-prompt=red, blue", ("negative_prompt", ["red", "blue"])),
        ("sampler=euler", ("sampler", ["euler"])),
        ("adapter:in-k=0,0.5", ("adapter:in-k", [0.0, 0.5])),
        ("replace=fox,owl", ("replace", ["fox", "owl"])),
    ],
)
def test_axes(text: str, wanted: tuple[str, list[Any]]) -> None:
    assert axis(text) == wanted


def test_three_axes(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    axes = ["--x", "steps=1,2", "--y", "prompt=fox,owl", "--z", "sampler=euler,heun"]
    words = ["grid", "a red {}", *axes, "--model", folder, "--seed", "3", "--separate"]
    assert main(words) == 0
    paths = capsys.readouterr().out.splitlines()
    assert paths[:2] == ["a-red-grid.png", "a-red-grid-2.png"]
    recipes = [png.read_recipe(Path(path)) for path in paths[2:]]
    assert [(r.sampler, r.prompt, r.steps) for r in recipes] == [
        (sampler, prompt, steps)
        for sampler in ("euler", "heun")
        for prompt in ("a red fox", "a red owl")
        for steps in (1, 2)
    ]
    assert {recipe.seed for recipe in recipes} == {3}
    with Image.open(paths[0]) as sheet:
        assert sheet.width > 3 * 128


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--x", "colour=red"], "guidance"),
        (["--x", "steps"], "steps=10,20,30"),
        (["--x", "steps=many"], "steps cannot be"),
        (["--x", "steps=1,2", "--y", "steps=3"], "given twice"),
        (["--x", "sampler=magic"], "dpmpp_2m"),
        (["--x", "seed=1:5000"], "up to 1000"),
    ],
)
def test_bad_axes(folder: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(["grid", "a fox", "--model", folder, *words]) == 2
    assert message in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_axes_inside_a_recipe() -> None:
    model = Model(tiny.networks(), About(name="tiny", settings=Settings(steps=1)))
    hires = {"width": 96, "height": 96, "strength": 0.5}
    base = Base(model, "a fox", {"hires": hires, "start": {"image": "sha256:" + "1" * 64, "strength": 0.5}}, (64, 64))

    def varied(text: str) -> Recipe:
        name, values = axis(text)
        return base.varied([((name, values), values[-1])])

    assert varied("strength=0.2,0.7").start.strength == 0.7  # type: ignore[union-attr]
    assert varied("hires_strength=0.3").hires.strength == 0.3  # type: ignore[union-attr]
    larger = varied("hires=2x").hires
    assert larger is not None
    assert (larger.width, larger.height, larger.strength) == (128, 128, 0.5)
    assert varied("clip-skip=1,2").clip_skip == 2
    assert varied("replace=fox,owl").prompt == "a owl"
    assert varied("eta=0.5").sampler_options.eta == 0.5  # type: ignore[union-attr]
    assert len({varied(f"steps={n}").seed for n in (1, 2, 3)}) == 1
    with pytest.raises(InvalidInput, match="no 'cat' to replace"):
        varied("replace=cat,owl")
    with pytest.raises(InvalidInput, match="needs --variation-seed"):
        varied("variation_strength=0.5")
