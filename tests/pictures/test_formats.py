"""Files of every format, whole, damaged and hostile."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from impasto.errors import InvalidInput, InvalidRecipe, NotFound
from impasto.pictures import formats, infotext, metadata
from impasto.pictures.origin import Commitment, Origin, pixels_digest
from tests.pictures.test_png import IMAGE, TEXTS, recipe

ENDINGS = list(formats.FORMATS)
ORIGIN = Origin(impasto="0.1.0", torch="2.13.0", device="cpu", processor="A <fast> & 'good' one", threads=2)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=20)
@given(prompt=TEXTS, negative=TEXTS)
def test_every_format_says_it_all(
    tmp_path_factory: pytest.TempPathFactory, ending: str, prompt: str, negative: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fox{ending}"
    wanted = recipe(prompt, negative)
    metadata.save(IMAGE, path, wanted, origin=ORIGIN)
    said = metadata.read(path)
    assert said.recipe == wanted
    assert said.recipe.digest == wanted.digest
    assert said.origin == ORIGIN.model_copy(update={"pixels": pixels_digest(IMAGE)})
    assert formats.texts(path)["parameters"] == infotext.write(wanted)


@pytest.mark.parametrize("ending", [".png", ".webp"])
def test_png_and_webp_keep_every_pixel(tmp_path: Path, ending: str) -> None:
    metadata.save(IMAGE, tmp_path / f"fox{ending}", recipe())
    assert pixels_digest(formats.open_image(tmp_path / f"fox{ending}")) == pixels_digest(IMAGE)


@pytest.mark.parametrize("ending", [".jpg", ".webp"])
def test_the_comment_is_where_a1111_has_it(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"fox{ending}"
    metadata.save(IMAGE, path, recipe("für Zoë 狐 🦊"))
    assert b"UNICODE\0" + infotext.write(recipe("für Zoë 狐 🦊")).encode("utf-16-be") in path.read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_private_shows_a_seal_and_nothing_else(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"fox{ending}"
    commitment = metadata.save(IMAGE, path, recipe("a secret"), origin=ORIGIN, telling="private")
    assert commitment is not None
    said = metadata.read(path)
    assert said == metadata.Said(seal=commitment.seal)
    assert b"secret" not in path.read_bytes()
    assert "secret".encode("utf-16-be") not in path.read_bytes()
    assert commitment.nonce.encode() not in path.read_bytes()
    other = Commitment(nonce=commitment.nonce, recipe=recipe("another"))
    assert other.seal != said.seal
    assert Commitment.to(commitment.recipe).seal != said.seal  # the same recipe never looks the same


@pytest.mark.parametrize("ending", ENDINGS)
def test_none_says_nothing(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"fox{ending}"
    assert metadata.save(IMAGE, path, recipe(), origin=ORIGIN, telling="none") is None
    assert metadata.read(path).nothing
    assert formats.texts(path) == {}


def test_too_much_text_for_jpeg(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="PNG or WebP"):
        metadata.save(IMAGE, tmp_path / "fox.jpg", recipe("x" * 20_000, "y" * 20_000))
    assert list(tmp_path.iterdir()) == []
    metadata.save(IMAGE, tmp_path / "fox.webp", recipe("x" * 20_000, "y" * 20_000))


def test_other_endings_and_tellings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\.png, \.jpg"):
        metadata.save(IMAGE, tmp_path / "fox.bmp", recipe())
    with pytest.raises(InvalidInput, match="full, private, none"):
        metadata.save(IMAGE, tmp_path / "fox.png", recipe(), telling="half")  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le", "utf-16"])
def test_comments_in_either_order(order: str) -> None:
    assert formats.user_comment(b"UNICODE\0" + "a fox für 狐".encode(order)) == "a fox für 狐"


def test_other_comments() -> None:
    assert formats.user_comment(b"ASCII\0\0\0a fox") == "a fox"
    assert formats.user_comment(b"a fox") == "a fox"
    assert formats.user_comment(b"\xff\xfe\xfd") == "\ufffd" * 3


def test_comfyui_in_webp(tmp_path: Path) -> None:
    graph = (
        '{"1": {"class_type": "KSampler", "inputs": {"steps": 3, "positive": ["2", 0], "seed": 1}},'
        ' "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}}}'
    )
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = f"prompt:{graph}"
    IMAGE.save(tmp_path / "fox.webp", exif=exif)
    said = metadata.read(tmp_path / "fox.webp")
    assert said.infotext is not None
    assert (said.infotext.prompt, said.infotext.program) == ("a fox", "ComfyUI")


def test_a_gifs_comment(tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "fox.gif", comment="a fox\nSteps: 3, Seed: 1, Sampler: Euler, Size: 8x8")
    said = metadata.read(tmp_path / "fox.gif")
    assert said.infotext is not None
    assert said.infotext.prompt == "a fox"


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def with_chunk(path: Path, extra: bytes) -> Path:
    IMAGE.save(path)
    data = path.read_bytes()
    path.write_bytes(data[:33] + extra + data[33:])
    return path


def test_texts_behind_the_pixels_and_compressed_are_read(tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    text = b"a fox\nSteps: 3, Seed: 1, Sampler: Euler, Size: 8x8"
    IMAGE.save(path)
    data = path.read_bytes()
    path.write_bytes(data[:-12] + chunk(b"zTXt", b"parameters\0\0" + zlib.compress(text)) + data[-12:])
    assert metadata.read(path).infotext is not None


HOSTILE = {
    "bomb": chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"x" * 50_000_000)),
    "bad zlib": chunk(b"zTXt", b"parameters\0\0not zlib"),
    "bad method": chunk(b"zTXt", b"parameters\0\x09" + zlib.compress(b"a")),
    "bad utf-8": chunk(b"iTXt", b"parameters\0\0\0\0\0\xff\xfe"),
    "cut iTXt": chunk(b"iTXt", b"parameters\0\0"),
    "no keyword": chunk(b"tEXt", b""),
    "deep json": chunk(b"tEXt", b"prompt\0" + b"[" * 900_000),
    "deep object": chunk(b"tEXt", b"prompt\0" + b'{"a":' * 100_000),
    "deep infotext": chunk(b"tEXt", b"parameters\0a\nSteps: 1, Seed: 1, A b: " + b"{" * 500_000),
    "broken exif": chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    "exif in circles": chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"),
    "not a recipe": chunk(b"tEXt", b'impasto\0{"prompt": 3}'),
    "a deep recipe": chunk(b"tEXt", b"impasto\0" + b"[" * 900_000),
    "a wrong origin": chunk(b"tEXt", b'impasto-origin\0{"device": 3}'),
    "digits": chunk(b"tEXt", b"invokeai_metadata\0" + b'{"positive_prompt": "a", "seed": ' + b"9" * 500_000 + b"}"),
}


REFUSED = {"bomb", "bad method", "not a recipe", "a deep recipe", "a wrong origin"}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's, which reads on
@pytest.mark.filterwarnings("ignore:Truncated:UserWarning")
def test_hostile_texts_are_nothing_or_a_typed_error(tmp_path: Path, kind: str) -> None:
    path = with_chunk(tmp_path / "fox.png", HOSTILE[kind])
    if kind in REFUSED:
        with pytest.raises(InvalidRecipe, match=r"fox\.png"):
            metadata.read(path)
    else:
        said = metadata.read(path)
        assert said.recipe is None
        assert said.infotext is None or said.infotext.program in ("InvokeAI", "A1111")


@given(st.sampled_from(ENDINGS), st.integers(0, 2000), st.binary(min_size=1, max_size=8))
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says what it skips
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, ending: str, place: int, damage: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged{ending}"
    metadata.save(IMAGE, path, recipe(), origin=ORIGIN)
    data = bytearray(path.read_bytes())
    place %= len(data)
    data[place : place + len(damage)] = damage
    path.write_bytes(data)
    for read in (metadata.read, formats.open_image):
        with contextlib.suppress(InvalidInput):
            read(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_cut_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"fox{ending}"
    metadata.save(IMAGE, path, recipe(), origin=ORIGIN)
    data = path.read_bytes()
    for length in range(0, len(data), 37):
        path.write_bytes(data[:length])
        for read in (metadata.read, formats.open_image):
            with contextlib.suppress(InvalidInput):
                read(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for read in (metadata.read, formats.open_image):
        with pytest.raises(NotFound):
            read(tmp_path / "nowhere.png")
        with pytest.raises(NotFound):
            read(tmp_path)
