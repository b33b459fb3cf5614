"""`impasto reproduce`, as a person calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from impasto.cli import main
from impasto.pictures import metadata, png
from impasto.pictures.formats import open_image
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import save_folder
from tests.weights import tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    save_folder(path / "tiny", tiny.networks(), About(name="tiny", settings=Settings(steps=2)))
    save_folder(path / "other", tiny.networks("v_prediction"), About(name="other", settings=Settings(steps=2)))
    return path


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(capsys: pytest.CaptureFixture[str], models: Path, *words: str) -> list[str]:
    assert main(["generate", "a fox", "--model", str(models / "tiny"), "--seed", "7", *words]) == 0
    return capsys.readouterr().out.splitlines()


def reproduce(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["reproduce", *words])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize("kind", ["png", "webp", "jpg"])
def test_a_picture_comes_out_the_same(models: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    (path,) = make(capsys, models, "--format", kind)
    assert path == f"a-fox-7.{kind}"
    code, text = reproduce(capsys, path, "--model", str(models / "tiny"), "-o", "again.png")
    assert (code, text) == (0, f"{path}: identical, every pixel.\n")
    assert png.read_recipe(Path("again.png")) == png.read_recipe(Path(path))


def test_another_model(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = make(capsys, models)
    code, text = reproduce(capsys, path, "--model", str(models / "other"))
    assert code == 1
    assert "not identical" in text
    assert "another model: made with tiny (sha256:" in text
    assert "another version" not in text


def test_a_picture_that_was_changed(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = make(capsys, models)
    said = metadata.read(Path(path))
    image = open_image(Path(path))
    image.putpixel((3, 3), (0, 255, 0))
    with Image.open(path) as original:
        from PIL.PngImagePlugin import PngInfo

        chunks = PngInfo()
        for key, value in original.text.items():  # type: ignore[attr-defined]
            chunks.add_itxt(key, value)
    image.save(path, pnginfo=chunks)
    assert metadata.read(Path(path)) == said
    code, text = reproduce(capsys, path, "--model", str(models / "tiny"))
    assert code == 1
    assert "changed after it was made" in text
    assert "0.02% of the pixels" in text


def test_another_version(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = make(capsys, models)
    said = metadata.read(Path(path))
    assert said.recipe is not None
    assert said.origin is not None
    darker = open_image(Path(path)).point(lambda value: value // 2)
    old = said.origin.model_copy(update={"impasto": "0.0.1", "threads": 999_999})
    metadata.save(darker, Path(path), said.recipe, origin=old)
    code, text = reproduce(capsys, path, "--model", str(models / "tiny"))
    assert code == 1
    assert "another version of Impasto: 0.0.1 then" in text
    assert "another number of threads: 999999 then" in text


def test_a_private_picture(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = make(capsys, models, "--metadata", "private")
    assert paths == ["picture.png", "picture.recipe.json"]
    tiny_model = ["--model", str(models / "tiny")]
    code, text = reproduce(capsys, "picture.png", *tiny_model)
    assert code == 2
    assert "--recipe" in text
    assert reproduce(capsys, "picture.png", "--recipe", "picture.recipe.json", *tiny_model)[0] == 0
    Path("picture.recipe.json").write_text(Path("picture.recipe.json").read_text().replace("a fox", "a box"))
    code, text = reproduce(capsys, "picture.png", "--recipe", "picture.recipe.json", *tiny_model)
    assert code == 2
    assert "another recipe" in text


def test_a_picture_that_says_nothing(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = make(capsys, models, "--metadata", "none")
    for words in ([], ["--model", str(models / "tiny")]):
        code, text = reproduce(capsys, path, *words)
        assert code == 2
        assert "says nothing" in text


def test_another_programs_picture(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from impasto.pictures import formats

    text = "a fox\nSteps: 2, Sampler: Euler, Schedule type: Karras, CFG scale: 3, Seed: 7, Size: 32x48, Model: sd"
    formats.save(Image.new("RGB", (32, 48)), Path("theirs.png"), {"parameters": text})
    code, told = reproduce(capsys, "theirs.png")
    assert code == 2
    assert "made by A1111 with the model sd" in told
    code, told = reproduce(capsys, "theirs.png", "--model", str(models / "tiny"), "-o", "ours.png")
    assert code == 1
    assert "made by A1111" in told
    recipe = png.read_recipe(Path("ours.png"))
    assert (recipe.sampler, recipe.schedule, recipe.steps, recipe.width, recipe.seed) == ("euler", "karras", 2, 32, 7)


def test_files_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = reproduce(capsys, "nowhere.png")
    assert code == 2
    assert "nowhere.png" in text
