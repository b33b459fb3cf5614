"""`impasto generate`, as a person calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from impasto.adapters.lora import write_adapter
from impasto.cli import main
from impasto.cli.generate import free, slug
from impasto.pictures import png
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import save_folder
from tests.adapters.random import adapter
from tests.weights import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_folder(path, tiny.networks(), About(name="tiny", settings=Settings(steps=2)))
    return str(path)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["generate", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_one_picture(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "A red fox!", "--model", folder, "--seed", "7") == ["a-red-fox-7.png"]
    recipe = png.read_recipe(tmp_path / "a-red-fox-7.png")
    assert (recipe.prompt, recipe.seed, recipe.steps) == ("A red fox!", 7, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["a-red-fox-7.png"]


def test_every_option_reaches_the_recipe(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--negative-prompt dark --steps 3 --guidance 2.5 --sampler heun --schedule exponential --size 32x48"
    (path,) = run(capsys, "fox", "--model", folder, *options.split(), "--dtype", "float32", "--device", "cpu")
    recipe = png.read_recipe(Path(path))
    assert (recipe.negative_prompt, recipe.steps, recipe.guidance) == ("dark", 3, 2.5)
    assert (recipe.sampler, recipe.schedule, recipe.width, recipe.height) == ("heun", "exponential", 32, 48)


def test_several_pictures_and_a_sheet(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = run(capsys, "fox", "--model", folder, "--seed", "1", "-n", "3", "--output", "new/pictures", "--size", "32")
    assert [Path(path).name for path in paths] == ["fox-1.png", "fox-2.png", "fox-3.png", "fox-sheet.png"]
    assert sorted(path.name for path in (tmp_path / "new" / "pictures").iterdir()) == sorted(
        Path(path).name for path in paths
    )
    assert [png.read_recipe(Path(path)).seed for path in paths[:3]] == [1, 2, 3]
    with Image.open(paths[3]) as sheet:
        assert sheet.width > 3 * 128


def test_a_named_file(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "fox", "--model", folder, "-o", "out.png") == ["out.png"]
    paths = run(capsys, "fox", "--model", folder, "-o", "out.png", "--count", "2", "--seed", "4")
    assert paths == ["out-4.png", "out-5.png", "out-sheet.png"]


def test_nothing_is_overwritten(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(capsys, "fox", "--model", folder, "--seed", "7")
    before = Path(first[0]).read_bytes()
    assert run(capsys, "fox", "--model", folder, "--seed", "7", "--steps", "1") == ["fox-7-2.png"]
    assert run(capsys, "fox", "--model", folder, "--seed", "7", "--steps", "1") == ["fox-7-3.png"]
    assert Path(first[0]).read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sampler", "magic"], "dpmpp_2m"),
        (["--schedule", "magic"], "karras"),
        (["--size", "big"], "128x192"),
        (["--size", "64", "--width", "64"], "either --size"),
        (["--size", "100"], "multiple of 8"),
        (["--steps", "0"], "steps"),
        (["--count", "0"], "0 pictures"),
        (["--batch", "0"], "batch of 0"),
        (["--device", "tpu9"], "auto, "),
        (["--guidance", "nan"], "guidance"),
    ],
)
def test_bad_input_is_code_2_and_one_message(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["generate", "fox", "--model", folder, *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_no_such_model_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "fox", "--model", "nowhere"]) == 2
    assert "glyph" in capsys.readouterr().err


def test_a_damaged_model_is_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_folder(tmp_path / "tiny", tiny.networks(), About(name="tiny"))
    (tmp_path / "tiny" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"x")
    assert main(["generate", "fox", "--model", "tiny"]) == 1
    assert "safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A red fox!", "a-red-fox"),
        ("Zoë's fox", "zoës-fox"),
        ("../../etc/passwd", "etc-passwd"),
        ("...", "picture"),
        ("", "picture"),
        ("word " * 50, "word-word-word-word-word-word-word-word"),
    ],
)
def test_names_of_files(prompt: str, name: str) -> None:
    assert slug(prompt) == name


def test_the_first_free_name(tmp_path: Path) -> None:
    assert free(tmp_path / "a.png") == tmp_path / "a.png"
    for name in ("a.png", "a-2.png"):
        (tmp_path / name).touch()
    assert free(tmp_path / "a.png") == tmp_path / "a-3.png"


def test_formats(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "fox", "--model", folder, "-o", "out.jpg") == ["out.jpg"]
    assert run(capsys, "fox", "--model", folder, "--seed", "1", "--format", "webp") == ["fox-1.webp"]
    for path in ("out.jpg", "fox-1.webp"):
        assert png.read_recipe(Path(path)).prompt == "fox"
    assert main(["generate", "fox", "--model", folder, "-o", "out.png", "--format", "jpg"]) == 2
    assert ".jpg, which --format asks for" in capsys.readouterr().err


@pytest.mark.parametrize("metadata", ["private", "none"])
def test_names_and_sheets_tell_no_more_than_the_files(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], metadata: str
) -> None:
    paths = run(capsys, "secret fox", "--model", folder, "--seed", "4", "-n", "2", "--metadata", metadata)
    kept = [f"picture{k}.recipe.json" for k in ("", "-2")] if metadata == "private" else []
    assert sorted(paths) == sorted(["picture.png", "picture-2.png", "picture-sheet.png", *kept])
    for path in tmp_path.glob("*.png"):
        assert b"secret" not in path.read_bytes()


def test_pictures_from_pictures(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gradient = Image.radial_gradient("L").resize((64, 64))
    gradient.convert("RGB").save(tmp_path / "start.png")
    gradient.point(lambda level: 255 * (level < 99)).save(tmp_path / "mask.png")
    common = ["fox", "--model", folder, "--seed", "1", "--image", "start.png"]
    (path,) = run(capsys, *common, "--strength", "0.5", "-o", "a.png")
    recipe = png.read_recipe(Path(path))
    assert recipe.start is not None
    assert (recipe.start.strength, recipe.mask) == (0.5, None)
    options = "--mask mask.png --mask-blur 2 --mask-content fill --mask-area masked --mask-padding 8 --mask-invert"
    (path,) = run(capsys, *common, *options.split(), "-o", "b.png")
    mask = png.read_recipe(Path(path)).mask
    assert mask is not None
    assert (mask.blur, mask.content, mask.area, mask.padding, mask.invert) == (2, "fill", "masked", 8, True)
    reproduced = ["reproduce", "b.png", "--model", folder]
    assert main(reproduced) == 2
    assert "start image" in capsys.readouterr().err
    assert main([*reproduced, "--image", "start.png", "--image", "mask.png"]) == 0
    assert capsys.readouterr().out == "b.png: identical, every pixel.\n"
    (path,) = run(capsys, *common, "--outpaint", "left=32", "--size", "96x64", "-o", "c.png")
    with Image.open(path) as wide:
        assert wide.size == (96, 64)


def test_second_passes_variations_and_seams(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--hires 1.5x --hires-strength 0.6 --hires-steps 1 --hires-upscaler lanczos --seamless x --vae-tile 64"
    (path,) = run(capsys, "fox", "--model", folder, *options.split(), "--variation-seed", "5")
    recipe = png.read_recipe(Path(path))
    assert recipe.hires is not None
    assert recipe.variation is not None
    assert (recipe.hires.width, recipe.hires.steps, recipe.hires.upscaler) == (96, 1, "lanczos")
    assert (recipe.variation.strength, recipe.seamless, recipe.vae_tile) == (0.1, "x", 64)
    with Image.open(path) as image:
        assert image.size == (96, 96)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strength", "0.5"], "--image"),
        (["--hires", "big"], "2x"),
        (["--hires-negative-prompt", "fog"], "--hires-negative-prompt is about a second pass"),
        (["--variation-strength", "0.5"], "--variation-seed"),
        (["--image", "nowhere.png"], "nowhere.png"),
    ],
)
def test_options_that_go_nowhere(
    folder: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["generate", "fox", "--model", folder, *words]) == 2
    assert message in capsys.readouterr().err


def test_adapters_details_and_a_preview(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_adapter(adapter(tiny.networks(), modules=("attention",)), tmp_path / "shelf" / "ink.safetensors")
    options = ["--clip-skip", "2", "--emphasis", "no_norm", "--sampler", "DPM++ 2M SDE Heun", "--eta", "0.5"]
    options += ["--schedule", "karras", "--rho", "5", "--sigma-max", "12"]
    words = ["a fox", "--model", folder, "--size", "16", "--preview", "forming.png", *options]
    (path,) = run(
        capsys, *words, "--adapter", "shelf/ink.safetensors=0.5", "--hires", "1.5x", "--hires-prompt", "an owl"
    )
    recipe = png.read_recipe(Path(path))
    assert [(use.name, use.weight) for use in recipe.adapters] == [("ink", 0.5)]
    assert (recipe.clip_skip, recipe.emphasis, recipe.sampler) == (2, "no_norm", "dpmpp_2m_sde")
    assert recipe.sampler_options is not None
    assert recipe.sampler_options.given() == {"eta": 0.5, "solver": "heun"}
    assert recipe.schedule_options is not None
    assert recipe.schedule_options.given() == {"rho": 5, "sigma_max": 12}
    assert recipe.hires is not None
    assert (recipe.hires.width, recipe.hires.prompt) == (24, "an owl")
    with Image.open("forming.png") as preview:
        assert preview.size == (48, 48)  # four pixels for each latent of the second pass
    (called,) = run(capsys, "a fox <lora:ink:0.2>", *words[1:], "--adapter", "shelf")
    assert [(use.name, use.weight) for use in png.read_recipe(Path(called)).adapters] == [("ink", 0.2)]


def test_an_infotext_is_followed_and_what_is_said_counts_more(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = (
        "Steps: 3, Sampler: DPM2, Schedule type: Automatic, CFG scale: 4, Seed: 5, Size: 16x16, Refiner: x, "
        "Model hash: fe4efff1e1, Model: sd-v1-4, Version: v1"
    )
    (tmp_path / "theirs.txt").write_text(f"a fox\nNegative prompt: dark\n{pairs}", encoding="utf-8")
    words = ["--from-infotext", "theirs.txt", "--model", folder]
    assert main(["generate", *words]) == 0
    told = capsys.readouterr()
    assert "Refiner is not followed here" in told.err
    assert "another model: sd-v1-4 [fe4efff1e1] then, tiny [" in told.err
    recipe = png.read_recipe(Path(told.out.strip()))
    assert (recipe.prompt, recipe.negative_prompt, recipe.seed, recipe.steps) == ("a fox", "dark", 5, 3)
    assert (recipe.sampler, recipe.schedule, recipe.discard_penultimate) == ("dpm_2", "karras", True)
    assert (recipe.noise, recipe.prompt_rules) == ("a1111-nv", "a1111")
    (other,) = run(capsys, "an owl", *words, "--sampler", "euler", "--schedule", "normal", "--steps", "1")
    recipe = png.read_recipe(Path(other))
    assert (recipe.prompt, recipe.sampler, recipe.discard_penultimate, recipe.steps) == ("an owl", "euler", False, 1)


def test_a_second_pass_of_an_infotext_is_the_one_that_is_said(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = "Steps: 1, Sampler: Euler, CFG scale: 4, Seed: 5, Size: 16x32, Hires upscale: 2, Hires upscaler: Lanczos"
    (tmp_path / "theirs.txt").write_text(f"a fox\n{pairs}, Hires checkpoint: xl, Version: v1", encoding="utf-8")
    words = ["--from-infotext", "theirs.txt", "--model", folder]
    assert main(["generate", *words, "--hires-steps", "2"]) == 0
    told = capsys.readouterr()
    assert "Hires checkpoint is not followed here" in told.err
    hires = png.read_recipe(Path(told.out.strip())).hires
    assert hires is not None
    assert (hires.width, hires.height, hires.upscaler, hires.steps) == (32, 64, "lanczos", 2)
    assert main(["generate", *words, "--hires", "1.5x", "--hires-model", folder]) == 0
    told = capsys.readouterr()
    assert "not followed" not in told.err
    hires = png.read_recipe(Path(told.out.strip())).hires
    assert hires is not None
    assert (hires.width, hires.height, hires.model and hires.model.name) == (24, 48, "tiny")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give a prompt"),
        (["--from-infotext", "nowhere.txt"], "Cannot read nowhere.txt"),
        (["--from-infotext", "plain.txt"], "holds no infotext"),
        (["--from-infotext", "theirs.txt"], "made from another picture"),
        (["fox <lora:ink>"], "unknown adapter 'ink'"),
    ],
)
def test_what_cannot_be_followed(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "plain.txt").write_text("a fox", encoding="utf-8")
    line = "Steps: 3, Sampler: Euler, CFG scale: 4, Seed: 5, Size: 16x16, Denoising strength: 0.5, Version: v1.10.1"
    (tmp_path / "theirs.txt").write_text(f"a fox\n{line}", encoding="utf-8")
    assert main(["generate", *words, "--model", folder]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
