"""Pictures to sign, and identities to sign them with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto.pictures import metadata
from impasto.receipt import CorpusUse, Receipt
from impasto.recipe import Recipe
from impasto.rights import artefacts, credentials, identity
from impasto.rights.credentials import Made
from impasto.rights.identity import Identity

DIGEST = "sha256:" + "ab" * 32
ROOT = "sha256:" + "cd" * 32
RECEIPT = Receipt(
    kind="base",
    name="tiny",
    identity=DIGEST,
    corpora=(CorpusUse(root=ROOT, selection=ROOT, rows=3, policy=DIGEST),),
    code="test",
)


@pytest.fixture
def without_packaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave out the model that comes with Impasto, whose many rows take seconds at every question."""
    monkeypatch.setattr(artefacts, "PACKAGED", tmp_path / "nothing")


def image(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8))


def recipe(**changes: object) -> Recipe:
    fields = {
        "model_name": "tiny",
        "model_digest": DIGEST,
        "prompt": "a secret fox",
        "seed": 7,
        "sampler": "euler",
        "schedule": "normal",
        "steps": 4,
        "guidance": 3.0,
        "width": 64,
        "height": 48,
    }
    return Recipe.model_validate({**fields, **changes})


@pytest.fixture(scope="session")
def maker() -> Identity:
    return identity.make()


@pytest.fixture
def signed(tmp_path: Path, maker: Identity) -> Callable[..., Path]:
    """Save and sign a picture: (name, telling="full", recipe=..., image=..., sources=()) -> its path."""

    def make(name: str = "fox.png", telling: str = "full", **made: object) -> Path:
        fields = {"image": image(), "recipe": recipe(), "receipts": [RECEIPT], **made}
        metadata.save(fields["image"], tmp_path / name, fields["recipe"], telling=telling)
        credentials.sign(tmp_path / name, Made(**fields), maker)
        return tmp_path / name

    return make
