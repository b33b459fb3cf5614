from __future__ import annotations

from pathlib import Path

import pytest

from impasto.corpus.build import build
from tests.corpus.icons import collection, package, plan, sections, shape

NAMES = ("fox", "owl", "red-apple", "house")
COLOURS = {"aa": "#d33", "bb": "#3a3", "cc": "#33d", "dd": "#d93"}


@pytest.fixture
def tiny_plan(tmp_path: Path) -> tuple[Path, Path]:
    """A plan over four admitted emoji sets and a share-alike one; gives (plan, tarball)."""
    sets = [
        collection(
            prefix, {name: shape(10 * i + j, colour) for j, name in enumerate(NAMES)} | {"flag-x": shape(99, "red")}
        )
        for i, (prefix, colour) in enumerate(COLOURS.items())
    ]
    shared = collection("sa", {"fox": shape(77, "#123")})
    shared["info"]["license"] = {"title": "CC BY-SA", "spdx": "CC-BY-SA-4.0"}
    tarball = tmp_path / "icons.tgz"
    integrity = package(tarball, *sets, shared)
    held = '[held_out]\nshare = 0.5\nothers = 2\nseed = "s"\n'
    return plan(tmp_path, integrity, sections(*COLOURS, "sa"), held), tarball


@pytest.fixture
def tiny(tiny_plan: tuple[Path, Path], tmp_path: Path) -> Path:
    """The folder of a built corpus of 16 drawings."""
    folder = tmp_path / "corpus"
    for _ in build(tiny_plan[0], folder, tiny_plan[1], workers=1):
        pass
    return folder
