"""Textual inversions inside pictures: both ways of A1111, and pictures made to harm."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from impasto.adapters.embeddings import Embedding, read_embedding
from impasto.errors import ImpastoError, KeyMismatch, UnreadableWeights
from impasto.pipeline.library import Library
from impasto.pipeline.loading import library
from impasto.weights import pictured
from impasto.weights.description import describe
from impasto.weights.detect import kind_at
from impasto.weights.folders import Registered
from tests.weights import tiny

VECTORS = torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
PICTURE = np.random.default_rng(1).integers(0, 256, (64, 48, 3), dtype=np.uint8)


def said(vectors: Any = None, **more: Any) -> bytes:
    held = {"*": {"TORCHTENSOR": VECTORS.tolist() if vectors is None else vectors}}
    told = {"string_to_token": {"*": 265}, "string_to_param": held, "name": "probe", "step": 7, **more}
    return json.dumps(told).encode()


def written(path: Path, content: bytes | str) -> Path:
    """A picture with a text chunk."""
    info = PngInfo()
    info.add_text("sd-ti-embedding", content if isinstance(content, str) else base64.b64encode(content).decode())
    Image.fromarray(PICTURE).save(path, pnginfo=info)
    return path


def bordered(content: bytes, edge: int = 3) -> NDArray[np.uint8]:
    """A picture with the halves of `content` in its borders, drawn pixel by pixel, and a black edge around it all."""
    height, state, key = 64, 0, []
    data = np.frombuffer(content, np.uint8)
    data = np.pad(data, (0, -len(data) % (height * 3)))
    for _ in range(len(data)):
        state = (state * 0x19660D + 0x3C6EF35F) & 0xFFFFFFFF
        key.append(state % 255 % 16)
    halves = [(half ^ np.array(key, np.uint8)) | 0x40 for half in (data % 16, data // 16)]
    left, right = (half.reshape(height, -1, 3) for half in halves)
    black = np.zeros((height, 1, 3), np.uint8)
    return np.pad(np.concatenate([left, black, PICTURE, black, right], axis=1), ((edge, edge), (edge, edge), (0, 0)))


def test_the_stream_is_that_of_every_picture_shared_so_far() -> None:
    numbers = [253, 242, 127, 44, 157, 27, 239, 133, 38, 79, 167, 4, 177, 95, 130, 79]
    assert pictured._stream(16).tolist() == [number & 15 for number in numbers]


@pytest.mark.parametrize("ending", ["png", "webp"])
def test_an_embedding_in_the_borders(ending: str, tmp_path: Path) -> None:
    Image.fromarray(bordered(zlib.compress(said(), 9))).save(tmp_path / f"a.{ending}", lossless=True)

    found = read_embedding(tmp_path / f"a.{ending}")

    assert (found.name, found.metadata["step"]) == ("probe", "7")
    assert found.digest == Embedding("other", VECTORS).digest


def test_an_embedding_in_a_text_chunk(tmp_path: Path) -> None:
    path = written(tmp_path / "any.png", said(sd_checkpoint_name="sd", sd_checkpoint=None))

    found = read_embedding(path)

    assert torch.equal(found.vectors, VECTORS)
    assert found.metadata == {"name": "probe", "step": "7", "sd_checkpoint_name": "sd"}
    assert kind_at(path) == ("embedding", "a textual inversion in a picture")
    assert read_embedding(written(tmp_path / "one.png", said([0.5] * 24, name=None))).name == "one"
    assert read_embedding(tmp_path / "one.png").vectors.shape == (1, 24)


def test_a_folder_of_embeddings_and_their_previews(tmp_path: Path) -> None:
    written(tmp_path / "whatever.png", said())
    Image.fromarray(bordered(zlib.compress(said(name="hidden")))).save(tmp_path / "b.png")
    Image.fromarray(PICTURE).save(tmp_path / "whatever.preview.png")
    (tmp_path / "no.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")

    library = Library.of((), [tmp_path])

    assert set(library.embeddings) == {"probe", "hidden"}
    assert torch.equal(library.embedding("hidden").vectors, VECTORS)
    assert kind_at(tmp_path / "whatever.preview.png") == (None, None)


WRONG: dict[str, tuple[Any, str]] = {
    "no base64": ("*" * 8, "not base64"),
    "no JSON": (b"{", "not JSON"),
    "a deep one": (b"[" * 200_000, "not JSON"),
    "a list": (b"[]", "string_to_param"),
    "no vectors": (b'{"string_to_param": {}}', "string_to_param"),
    "no tensor": (b'{"string_to_param": {"*": [1, 2]}}', "not of numbers"),
    "words": (said([["a", "b"]]), "not of numbers"),
    "ragged": (said([[1, 2], [3]]), "not of numbers"),
    "endless": (said([[1e999, 2]]), "not finite"),
    "too wide a number": (said([[10**400, 2]]), "not of numbers"),
    "three sides": (said([[[1, 2]]]), "no vectors"),
    "no sides": (said(1.0), "no vectors"),
    "one number": (said([1.0]), "no vectors"),
    "two words": (b'{"string_to_param": {"a": {"TORCHTENSOR": [1, 2]}, "b": {"TORCHTENSOR": [1, 2]}}}', "2 parts"),
    "too much": ("A" * (23 << 20), "too much"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_embedding_is_an_error(kind: str, tmp_path: Path) -> None:
    content, problem = WRONG[kind]
    with pytest.raises((UnreadableWeights, KeyMismatch), match=problem):
        read_embedding(written(tmp_path / "a.png", content))


def test_borders_that_hold_something_else(tmp_path: Path) -> None:
    bomb = zlib.compress(b"[" + b" " * (64 << 20))
    for content in (bomb, b"no zlib at all", zlib.compress(said())[:-9]):
        Image.fromarray(bordered(content)).save(tmp_path / "a.png")
        with pytest.raises(UnreadableWeights, match="without an embedding"):
            read_embedding(tmp_path / "a.png")
    for picture in (PICTURE, PICTURE * 0, PICTURE[:, :1] * 0):
        Image.fromarray(picture).save(tmp_path / "a.png")
        with pytest.raises(UnreadableWeights, match="without an embedding"):
            read_embedding(tmp_path / "a.png")


def test_pictures_that_are_damaged_or_too_large(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.png", said()).read_bytes()
    for length in range(8, len(whole), 997):
        (tmp_path / "b.png").write_bytes(whole[:length])
        with pytest.raises(ImpastoError):
            read_embedding(tmp_path / "b.png")
    Image.new("1", (8000, 8000)).save(tmp_path / "large.png")
    with pytest.raises(UnreadableWeights, match="8000x8000 pixels"):
        read_embedding(tmp_path / "large.png")


def test_embeddings_in_a_folder_of_the_web_ui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))
    web_ui = tmp_path / "web-ui"
    for place in ("models/Stable-diffusion", "embeddings"):
        (web_ui / place).mkdir(parents=True)
    written(web_ui / "embeddings" / "whatever.png", said())
    Registered().add(web_ui)
    assert "probe" in library(tiny.networks().spec, (), ()).embeddings
    assert describe(web_ui / "embeddings" / "whatever.png").what.startswith("a textual inversion in a picture")
