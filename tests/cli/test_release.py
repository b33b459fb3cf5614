"""The command that gives a model away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from impasto.cli import main
from tests.rights import models


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.finished(tmp_path_factory.mktemp("made") / "tiny")


def test_a_release_and_what_became_of_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))
    out = tmp_path / "out"
    assert main(["release", str(model), "--output", str(out), "--author", "Ada"]) == 0
    assert "Name the makers" in capsys.readouterr().out
    assert main(["release", "verify", str(out)]) == 0
    assert "whom you know" in capsys.readouterr().out
    assert main(["verify", str(out)]) == 0  # the one command knows a release too
    told = capsys.readouterr().out
    assert "whom you know" in told
    assert "asks: Name the makers" in told
    assert "works by: Ada 2, Bo 1" in told
    with monkeypatch.context() as patch:
        patch.setattr("impasto.cli.verify.find_spec", lambda _: None)
        assert main(["verify", str(out)]) == 3
    assert "To see whether its signature holds: pip install" in capsys.readouterr().out
    (out / "LICENSE").write_text("Do what you like.")
    assert main(["verify", str(out)]) == 1
    capsys.readouterr()
    assert main(["release", "verify", str(out), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert "The file 'LICENSE' was changed." in [one["text"] for one in found["findings"]]


def test_what_cannot_be_released(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["release", str(model), "-o", str(tmp_path / "out"), "--author", "Ada"]
    assert main([*words, "--licence", "CC0-1.0"]) == 2
    assert "must not be released under CC0-1.0" in capsys.readouterr().err
    assert main([*words, "--part", "x"]) == 2
    assert "is not NAME=LICENCE" in capsys.readouterr().err
    assert main(["release", "verify", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "out").exists()
