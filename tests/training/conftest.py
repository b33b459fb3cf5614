from __future__ import annotations

from pathlib import Path

import pytest

from impasto.corpus.build import build
from impasto.training import runs
from tests.corpus.icons import collection, package, plan, sections, shape
from tests.training import tiny
from tests.training.tiny import finish, write

NAMES = ("fox", "owl", "red-apple", "house")
COLOURS = {"aa": "#d33", "bb": "#3a3", "cc": "#33d"}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a corpus of twelve drawings of 32 px, some of them held out."""
    folder = tmp_path_factory.mktemp("corpus")
    sets = [
        collection(prefix, {name: shape(10 * i + j, colour) for j, name in enumerate(NAMES)})
        for i, (prefix, colour) in enumerate(COLOURS.items())
    ]
    integrity = package(folder / "icons.tgz", *sets)
    held_out = '[held_out]\nshare = 0.5\nothers = 1\nseed = "s"\n'
    file = plan(folder, integrity, sections(*COLOURS), held_out)
    for _ in build(file, folder / "built", folder / "icons.tgz", workers=1):
        pass
    return folder / "built"


@pytest.fixture(scope="session")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a finished autoencoder run in `ae` and a finished model run in `m`."""
    folder = tmp_path_factory.mktemp("runs")
    finish(runs.autoencoder(write(folder, "ae", tiny.autoencoder()), corpus, folder / "ae"))
    finish(runs.model(write(folder, "m", tiny.model()), corpus, folder / "ae", folder / "m"))
    return folder
