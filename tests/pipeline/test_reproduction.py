"""What a picture's text says of its model, held against the model that is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import impasto
from impasto.pictures import infotext
from impasto.pipeline.model import Model
from impasto.pipeline.reproduction import other_model
from impasto.schema import file_digest
from impasto.weights.checkpoint import About
from impasto.weights.load import save_file
from tests.weights import tiny


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "sd.safetensors"
    save_file(path, tiny.stable_diffusion(), About(name="sd"))
    return path


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return impasto.load(path)


def told(model: Model, hash_: str, version: str = "v1.10.1") -> str | None:
    text = f"a\nSteps: 2, Sampler: Euler, Size: 8x8, Model hash: {hash_}, Model: theirs, Version: {version}"
    found = infotext.read(text)
    assert found is not None
    return other_model(found, model)


def test_the_same_model_by_any_of_its_hashes(path: Path, model: Model) -> None:
    whole = file_digest(path)[7:17]
    with path.open("rb") as file:
        file.seek(1 << 20)
        part = hashlib.sha256(file.read(1 << 16)).hexdigest()[:8]
    for hash_ in (whole, whole.upper(), part, model.digest[7:17], "none at all", ""):
        assert told(model, hash_) is None
    assert told(model, "fe4efff1e1", "ComfyUI") is None  # where it is no such hash


def test_another_model(path: Path, model: Model) -> None:
    whole = file_digest(path)[7:17]
    assert told(model, "fe4efff1e1") == f"another model: theirs [fe4efff1e1] then, sd [{whole}] now"
    assert str(told(model, "7460a6fa")).startswith("another model: theirs [7460a6fa] then, sd [")
    alone = Model(tiny.networks(), About(name="alone"))
    assert told(alone, "fe4efff1e1") == f"another model: theirs [fe4efff1e1] then, alone [{alone.digest[7:17]}] now"
