"""A single file from end to end: diffusers loads what is written here, and the pictures are those of the folder."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

import impasto
from impasto.weights import files
from impasto.weights.checkpoint import About
from impasto.weights.load import save_file, save_folder
from tests.weights import tiny

ABOUT = About(name="tiny")


@pytest.fixture(scope="module", params=["sd-1", "sd-2"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a single file, as a pickle of it and as a folder, of 64 px."""
    path = tmp_path_factory.mktemp("models")
    networks = tiny.stable_diffusion(request.param, 4, "v_prediction" if request.param == "sd-2" else "epsilon")
    save_file(path / "model.safetensors", networks, ABOUT)
    torch.save({"state_dict": dict(files.load(path / "model.safetensors"))}, path / "model.ckpt")
    save_folder(path / "folder", networks, ABOUT)
    return path


def test_diffusers_loads_the_single_file(models: Path) -> None:
    ours = diffusers.StableDiffusionPipeline.from_pretrained(models / "folder")
    theirs = diffusers.StableDiffusionPipeline.from_single_file(
        str(models / "model.safetensors"), config=str(models / "folder"), local_files_only=True
    )
    for part in ("unet", "vae", "text_encoder"):
        wanted, got = getattr(ours, part).state_dict(), getattr(theirs, part).state_dict()
        assert got.keys() == wanted.keys()
        assert all(torch.equal(got[name], wanted[name]) for name in wanted)


def test_the_same_picture_from_every_file(models: Path) -> None:
    options = {"seed": 3, "steps": 2, "width": 64, "height": 64}
    prediction = impasto.load(models / "folder").spec.prediction
    wanted = np.asarray(impasto.load(models / "folder").generate("a red fox!", **options)[0].image)
    single = impasto.load(models / "model.safetensors")
    assert (single.spec.prediction, single.digest) == (prediction, impasto.load(models / "folder").digest)
    assert np.array_equal(np.asarray(single.generate("a red fox!", **options)[0].image), wanted)
    if prediction == "epsilon":  # a bare pickle does not say otherwise
        pickled = impasto.load(models / "model.ckpt")
        assert np.array_equal(np.asarray(pickled.generate("a red fox!", **options)[0].image), wanted)


def test_another_autoencoder_changes_the_picture(models: Path, tmp_path: Path) -> None:
    options = {"seed": 3, "steps": 2, "width": 64, "height": 64}
    first = impasto.load(models / "folder")
    tensors = {name: tensor * 1.1 for name, tensor in first.networks.vae.state_dict().items()}
    files.save(tmp_path / "vae.safetensors", tensors)
    other = impasto.load(models / "model.safetensors", vae=tmp_path / "vae.safetensors")
    pictures = [np.asarray(model.generate("a red fox!", **options)[0].image) for model in (first, other)]
    assert not np.array_equal(*pictures)
    assert first.digest != other.digest
