"""The mark in the first noise: it changes no distribution, is found again, and is not found where it is not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor

from impasto.cli import main
from impasto.diffusion.noise import ImageNoise
from impasto.errors import InvalidRecipe
from impasto.pictures import png
from impasto.pipeline import Model
from impasto.recipe import FromPicture, Hires, Recipe, Variation
from impasto.rights import credentials, inversion, watermark
from impasto.rights.binding import BITS, SCHEME, code_of
from impasto.rights.watermark import FALSE, Mark, Marked, read, signs
from impasto.weights.checkpoint import About
from impasto.weights.load import save_folder
from tests.rights.conftest import recipe
from tests.weights import tiny

GLYPH = (16, 8, 8)


def noise(seed: int, shape: tuple[int, int, int] = GLYPH) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [GLYPH, (4, 32, 32), (4, 64, 64)])
@pytest.mark.parametrize("code", [0, 1, 0xABCDE, 2**BITS - 1])
def test_every_code_is_read_from_the_noise_itself(shape: tuple[int, int, int], code: int) -> None:
    mark = read(noise(1, shape).abs() * signs(code, shape))
    assert (mark.code, mark.agreement, mark.found) == (code, 1.0, True)


def test_the_transform_is_the_sum_over_all_columns() -> None:
    values = torch.randn(2**BITS, generator=torch.Generator().manual_seed(0)).numpy()
    sums = watermark._hadamard(values.copy())
    columns = torch.arange(2**BITS)
    for code in (1, 0x12345):
        parity = sum(((columns & code) >> bit) & 1 for bit in range(BITS)) & 1
        assert sums[code] == pytest.approx(float(((1 - 2 * parity) * torch.from_numpy(values)).sum()), abs=0.05)


def test_noise_stays_normal_and_independent() -> None:
    codes = torch.randint(2**BITS, (400,), generator=torch.Generator().manual_seed(1)).tolist()
    drawn = Marked(ImageNoise(range(400), GLYPH), codes).initial()
    plain = ImageNoise(range(400), GLYPH).initial()
    assert torch.equal(drawn.abs(), plain.abs())
    assert stats.kstest(drawn.flatten().numpy(), "norm").pvalue > 0.01
    assert stats.kstest(drawn[0].flatten().numpy(), "norm").pvalue > 0.01
    each = drawn.flatten(1)  # (400, 1024)
    # Of each number over pictures, and of pairs of numbers: means and correlations are as small as chance makes them.
    assert float(each.mean(0).abs().max()) < 5 / math.sqrt(400)
    correlations = torch.corrcoef(each.T)[0, 1:]
    assert float(correlations.abs().max()) < 5 / math.sqrt(400)
    assert float((correlations * math.sqrt(400)).std()) == pytest.approx(1, abs=0.15)


def test_pictures_of_other_codes_are_unlike_each_other() -> None:
    agreements = [float((signs(a, GLYPH) == signs(b, GLYPH)).float().mean()) for a, b in [(0, 1), (5, 6), (7, 0xFFFFF)]]
    assert all(0.4 < agreement < 0.6 for agreement in agreements)


def test_what_comes_after_the_first_noise_is_the_seeds() -> None:
    marked, plain = Marked(ImageNoise([3], GLYPH), [9]), ImageNoise([3], GLYPH)
    marked.initial()
    plain.initial()
    assert torch.equal(marked(2.0, 1.0), plain(2.0, 1.0))


def test_no_mark_is_found_where_there_is_none() -> None:
    chances = [read(noise(seed)).chance for seed in range(20)]
    assert min(chances) > 1e-3
    assert read(torch.zeros(GLYPH)).chance == 1
    gradient = torch.linspace(-1, 1, 1024).reshape(GLYPH)
    assert not read(gradient).found
    assert not read(torch.ones(GLYPH)).found


def test_the_chance_is_an_upper_bound() -> None:
    """Of votes that codes turn at random: no more sums pass a level than Hoeffding's inequality says."""
    votes = noise(5).flatten()
    sums = watermark._hadamard(
        torch.zeros(2**BITS).index_add_(0, torch.from_numpy(watermark._code(1024)[1].astype("int64")), votes).numpy()
    )
    t = torch.from_numpy(sums) / votes.norm()
    for level in (2.0, 3.0, 4.0):
        share = float((t >= level).float().mean())
        assert 0 < share <= math.exp(-(level**2) / 2)


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.4])
def test_a_mark_under_noise(kept: float) -> None:
    """With a correlation of 0.4 to the first noise, which is 63% of the signs, it is still found."""
    code = 0x5A5A5
    blurred = kept * noise(2).abs() * signs(code, GLYPH) + math.sqrt(1 - kept**2) * noise(3)
    mark = read(blurred)
    assert mark.code == code
    assert mark.chance < FALSE


def test_the_code_is_the_recipes() -> None:
    one = recipe(soft_binding=SCHEME)
    assert f"{code_of(one):05x}" == one.digest.removeprefix("sha256:")[:5]
    assert code_of(one) != code_of(recipe(soft_binding=SCHEME, seed=8))
    assert recipe().digest == recipe(soft_binding=None).digest


@pytest.mark.parametrize(
    "other",
    [
        {"start": FromPicture(image="sha256:" + "0" * 64, strength=0.5)},
        {"hires": Hires(width=128, height=128)},
        {"variation": Variation(seed=1, strength=0.5)},
    ],
)
def test_what_would_write_over_the_mark_is_refused(other: dict[str, object]) -> None:
    with pytest.raises(InvalidRecipe, match="soft_binding marks the first noise"):
        Recipe.parse({**recipe().plain(), "soft_binding": SCHEME, **other}, "x", InvalidRecipe)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(tiny.networks(), About(name="tiny"))


def test_pictures_come_back_to_their_noise(model: Model) -> None:
    """A batch of different codes, each found in its own picture's latents; a random autoencoder keeps nothing of it."""
    plainly = {"seed": 4, "steps": 5, "guidance": 1, "sampler": "euler", "schedule": "karras"}
    recipes = model.recipes("fox", 2, **plainly, soft_binding=SCHEME)
    *_, last = model.make(recipes)
    for one, latents in zip(recipes, last.latents.split(1), strict=True):
        *_, step = inversion.back_from(model, latents, steps=5)
        mark = read(step.x[0])
        assert mark.code == code_of(one)
        assert mark.agreement > 0.9
    *_, last = model.make(model.recipe("fox", **plainly))
    *_, step = inversion.back_from(model, last.latents, steps=5)
    assert not read(step.x[0]).found


def test_a_picture_is_looked_at_in_the_models_own_sizes(model: Model) -> None:
    for size, given in (((67, 70), None), ((64, 64), (96, 64))):
        mark = inversion.find(model, Image.effect_noise(size, 50), given, steps=2)
        assert not mark.found


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    save_folder(tmp_path / "tiny", tiny.networks(), About(name="tiny"))
    common = ["generate", "fox", "--model", "tiny", "--seed", "1", "--steps", "2", "--size", "32"]
    assert main([*common, "--soft-binding", "-o", "a.png"]) == 0
    assert main([*common, "-o", "b.png"]) == 0
    marked = png.read_recipe(Path("a.png"))
    assert (marked.soft_binding, png.read_recipe(Path("b.png")).soft_binding) == (SCHEME, None)
    assert main(["reproduce", "a.png", "--model", "tiny"]) == 0
    capsys.readouterr()
    assert main(["verify", "a.png", "--mark", "tiny"]) == 3  # a random autoencoder keeps nothing of the noise
    out = capsys.readouterr().out
    assert "No mark is found" in out
    assert f"soft binding: {code_of(marked):05x}" in out
    assert main([*common, "--soft-binding", "--metadata", "private", "-o", "c.png"]) == 2
    assert "--soft-binding" in capsys.readouterr().err
    assert not Path("c.png").exists()
    found = credentials.read(Path("a.png"))
    assert found
    bindings = [one["data"]["blocks"] for one in found.manifest["assertions"] if one["label"] == "c2pa.soft-binding"]
    assert bindings == [[{"scope": {}, "value": f"{code_of(marked):05x}"}]]


@pytest.mark.parametrize(
    ("mark", "of_recipe", "state", "words"),
    [
        (Mark(5, 0.7, 1e-20), None, "unknown", "00005 is in its noise (70% of the signs; by accident 1e-20 at most)"),
        (Mark(5, 0.7, 1e-20), recipe(soft_binding=SCHEME), "changed", "it is another picture"),
        (Mark(code_of(recipe(soft_binding=SCHEME)), 0.7, 1e-20), recipe(soft_binding=SCHEME), "holds", "no proof"),
        (Mark(5, 0.55, 0.3), recipe(soft_binding=SCHEME), "unknown", "No mark is found"),
    ],
)
def test_what_a_mark_tells(mark: Mark, of_recipe: Recipe | None, state: str, words: str) -> None:
    found = inversion.finding(mark, of_recipe)
    assert found.state == state
    assert words in found.text
