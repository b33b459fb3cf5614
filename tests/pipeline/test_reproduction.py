"""What a picture's text says of its model, held against the model that is there."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

import impasto
from impasto.pictures import infotext, metadata
from impasto.pipeline.model import Model
from impasto.pipeline.reproduction import again, judge, other_model, other_vae
from impasto.schema import file_digest
from impasto.weights import facts, files
from impasto.weights.checkpoint import About
from impasto.weights.load import save_file, save_folder
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


@pytest.fixture(scope="module")
def vae(path: Path) -> Path:
    """Return a file of an autoencoder that is not the model's own."""
    vae = path.with_name("better.vae.safetensors")
    files.save(vae, {key: value * 0.5 for key, value in tiny.stable_diffusion().vae.state_dict().items()})
    return vae


def made(model: Model, path: Path) -> metadata.Said:
    (picture,) = model.generate("a", seed=1, steps=1, width=64, height=64)
    picture.save(path)
    return metadata.read(path)


def test_the_text_names_the_file_and_the_recipe_the_weights(path: Path, model: Model, tmp_path: Path) -> None:
    said = made(model, tmp_path / "a.png")
    assert said.infotext
    assert said.recipe
    assert said.infotext.parameters["Model hash"] == file_digest(path)[7:17]
    assert "VAE" not in said.infotext.parameters
    assert said.recipe.model_digest == model.digest
    assert other_model(said.infotext, model) is None


def test_a_folder_has_no_file_to_name(tmp_path: Path) -> None:
    save_folder(tmp_path / "sd", tiny.stable_diffusion(), About(name="sd"))
    model = impasto.load(tmp_path / "sd")
    said = made(model, tmp_path / "a.png")
    assert said.infotext
    assert said.infotext.parameters["Model hash"] == model.digest[7:17]


@pytest.mark.parametrize("stripped", [False, True])
def test_made_again_by_either_hash(model: Model, tmp_path: Path, stripped: bool) -> None:
    said = made(model, tmp_path / "a.png")
    if stripped:  # by a program that keeps A1111's text only
        said = metadata.Said(infotext=said.infotext)
    verdict = judge(tmp_path / "a.png", said, again(said, model), model)
    assert not [reason for reason in verdict.reasons if reason.startswith("another")]
    assert verdict.identical


def test_a_file_is_hashed_once(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = time.time_ns() - 10**10
    os.utime(path, ns=(old, old))
    monkeypatch.setattr(facts, "SETTLED", -(10**12))  # the entry's own time cannot be set back
    read: list[Path] = []
    monkeypatch.setattr(facts, "file_digest", lambda file: (read.append(file), file_digest(file))[1])
    for number in range(2):  # as two processes would
        model = impasto.load(path)
        for name in ("a.png", "b.png"):
            made(model, tmp_path / f"{number}{name}")
    assert read == [path]
    with path.open("ab"):
        os.utime(path, ns=(old, old + 1))
    assert impasto.load(path).hashes.model == file_digest(path)[7:17]
    assert read == [path, path]


def test_another_autoencoder_is_named_by_its_file(path: Path, vae: Path, model: Model, tmp_path: Path) -> None:
    changed = impasto.load(path, vae=vae)
    said = made(changed, tmp_path / "a.png")
    assert said.infotext
    assert said.recipe
    assert said.infotext.parameters["VAE"] == "better.vae.safetensors"
    assert said.infotext.parameters["VAE hash"] == file_digest(vae)[7:17]
    assert said.infotext.parameters["Model hash"] == file_digest(path)[7:17]  # which is still that file
    assert list(said.infotext.parameters)[6:10] == ["Model hash", "Model", "VAE hash", "VAE"]
    assert said.recipe.model_digest == changed.digest != model.digest
    assert other_vae(said.infotext, changed) is None
    words = "another autoencoder: better.vae.safetensors then, the model's own now"
    assert other_vae(said.infotext, model) == words
    stripped = metadata.Said(infotext=said.infotext)
    assert words in judge(tmp_path / "a.png", stripped, again(stripped, model), model).reasons


def test_another_autoencoder_by_name_where_there_is_no_hash(path: Path, vae: Path, model: Model) -> None:
    changed = impasto.load(path, vae=vae)
    plain = "a\nSteps: 2, Sampler: Euler, Size: 8x8, Version: v1.10.1"
    for text, ours, theirs in [(plain, True, False), (f"{plain}, VAE: better.vae.safetensors", False, True)]:
        found = infotext.read(text)
        assert found is not None
        assert (other_vae(found, model) is None) is ours
        assert (other_vae(found, changed) is None) is theirs
