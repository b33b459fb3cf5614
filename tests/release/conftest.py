"""A tiny model, released."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from impasto.release.kit import release
from impasto.release.subject import Choices, gather
from impasto.rights import identity
from impasto.rights.identity import Identity
from impasto.weights.detect import open_model
from tests.rights import models

DAY = date(2026, 11, 24)
FIGURES = [
    {"name": "a.r1", "what": "the asked thing is there", "unit": "", "value": 0.8125, "low": 0.7, "high": 0.9, "n": 64},
    {"name": "b.p", "what": "sharp | clear", "unit": "dB", "value": 31.25, "low": 30.5, "high": 32.0, "n": 16},
]


@pytest.fixture(scope="session")
def maker() -> Identity:
    return identity.make()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.finished(tmp_path_factory.mktemp("made") / "tiny")


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    path = tmp_path_factory.mktemp("results") / "tiny.json"
    path.write_text(json.dumps({"model_digest": open_model(model).digest, "figures": FIGURES, "notes": ["of a test"]}))
    return path


@pytest.fixture(scope="session")
def make(model: Path, maker: Identity) -> Callable[..., Path]:
    """Release the tiny model: (folder, **choices) -> the folder."""

    def made(folder: Path, by: Identity | None = None, path: Path | None = None, **choices: object) -> Path:
        subject = gather(path or model, Choices(DAY, "Ada", **choices))
        for _ in release(subject, folder, by or maker):
            pass
        return folder

    return made


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Path], results: Path) -> Path:
    return make(tmp_path_factory.mktemp("releases") / "tiny", results=(results,), contact="ada@example.org")
