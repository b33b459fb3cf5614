"""Pictures that carry their recipe."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from impasto.errors import InvalidRecipe, NotFound
from impasto.pictures import infotext, png
from impasto.recipe import Recipe

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def recipe(prompt: str = "a red fox", negative_prompt: str = "", seed: int = 7) -> Recipe:
    return Recipe(
        model_name="glyph",
        model_digest="sha256:" + "ab" * 32,
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        sampler="dpmpp_2m",
        schedule="karras",
        steps=25,
        guidance=4,
        width=128,
        height=64,
    )


IMAGE = Image.linear_gradient("L").convert("RGB").resize((16, 8))


@given(TEXTS, TEXTS, st.integers(0, 2**53 - 1))
def test_a_recipe_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, negative: str, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "fox.png"
    png.save(IMAGE, path, recipe(prompt, negative, seed))
    assert png.read_recipe(path) == recipe(prompt, negative, seed)
    assert Image.open(path).tobytes() == IMAGE.tobytes()


@pytest.mark.parametrize("prompt", ["a red fox", "ein Fuchs für Zoë", "赤い狐 🦊"])
def test_pillow_reads_the_infotext(tmp_path: Path, prompt: str) -> None:
    png.save(IMAGE, tmp_path / "fox.png", recipe(prompt))
    with Image.open(tmp_path / "fox.png") as image:
        assert image.info["parameters"] == infotext.write(recipe(prompt))


def test_the_chunks_are_of_the_kinds_that_others_read(tmp_path: Path) -> None:
    png.save(IMAGE, tmp_path / "latin.png", recipe("für Zoë"))
    png.save(IMAGE, tmp_path / "other.png", recipe("赤い狐"))
    latin, other = (tmp_path / "latin.png").read_bytes(), (tmp_path / "other.png").read_bytes()
    assert b"tEXtparameters\0" in latin
    assert b"iTXtparameters\0" in other
    assert b"iTXtimpasto\0" in latin
    assert b"iTXtimpasto\0" in other


def test_a_compressed_chunk_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    png.save(IMAGE, path)
    data = path.read_bytes()
    body = b"zTXtimpasto\0\0" + zlib.compress(recipe().canonical())
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    path.write_bytes(data[:33] + chunk + data[33:])
    assert png.read_recipe(path) == recipe()


def test_the_same_picture_gives_the_same_bytes(tmp_path: Path) -> None:
    png.save(IMAGE, tmp_path / "a.png", recipe())
    png.save(IMAGE, tmp_path / "b.png", recipe())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_other_pictures_are_refused(tmp_path: Path) -> None:
    png.save(IMAGE, tmp_path / "plain.png")
    with pytest.raises(InvalidRecipe, match="carries no recipe"):
        png.read_recipe(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("a fox")
    with pytest.raises(InvalidRecipe, match="not a picture"):
        png.read_recipe(tmp_path / "text.png")
    with pytest.raises(NotFound, match="nowhere"):
        png.read_recipe(tmp_path / "nowhere.png")
    with pytest.raises(NotFound):
        png.read_recipe(tmp_path)


def test_a_damaged_recipe_is_refused(tmp_path: Path) -> None:
    png.save(IMAGE, tmp_path / "fox.png", recipe())
    data = (tmp_path / "fox.png").read_bytes()
    (tmp_path / "fox.png").write_bytes(data.replace(b'"seed":7', b'"seed":8'))  # the chunk's checksum fails
    with pytest.raises(InvalidRecipe):
        png.read_recipe(tmp_path / "fox.png")


@given(st.binary(max_size=200))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + tail)
    with pytest.raises(InvalidRecipe):
        png.read_recipe(path)
