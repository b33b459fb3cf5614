from __future__ import annotations

from pathlib import Path

import pytest

from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import ModelSpec
from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL
from impasto.training.initial import fresh
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import Networks, save_folder
from tests.training import tiny
from tests.training.conftest import corpus

__all__ = ["corpus"]

CONCEPTS = ["fox", "owl", "red-apple", "house"]
COLLECTIONS = ["aa", "bb", "cc"]


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model plan for the tiny corpus."""
    path = tmp_path_factory.mktemp("plan") / "model.toml"
    select = {"concepts": CONCEPTS, "collections": COLLECTIONS}
    captions = {"styles": {"aa": "angular"}}
    path.write_text(tiny.toml(tiny.model(select=select, captions=captions)))
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that has learned nothing."""
    reading = {**tiny.SPEC["text"], "max_position_embeddings": 64}
    spec = ModelSpec.model_validate({**tiny.SPEC, "text": reading})
    parts = (
        fresh(lambda: CLIPTextEncoder(spec.text), 0, "text", zeros=()),
        fresh(lambda: UNet(spec.unet), 0, "unet", zeros=()),
        fresh(lambda: AutoencoderKL(spec.vae), 0, "vae", zeros=()),
    )
    text, unet, vae = (part.eval().requires_grad_(requires_grad=False) for part in parts)
    networks = Networks(spec, CLIPTokenizer.packaged(100), text, unet, vae)
    folder = tmp_path_factory.mktemp("model") / "model"
    save_folder(folder, networks, About(name="tiny", settings=Settings(steps=1, sampler="euler")))
    return folder
