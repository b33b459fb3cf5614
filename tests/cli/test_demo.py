from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from impasto.cli import demo, main
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import save_folder
from tests.weights import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_folder(tmp_path / "tiny", tiny.networks(), About(name="tiny", settings=Settings(steps=2)))
    return tmp_path / "tiny"


def test_demo(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PROMPTS", demo.PROMPTS[:2])
    output = tmp_path / "new" / "sheet.png"

    assert main(["demo", "--model", str(folder), "--output", str(output)]) == 0
    assert "2 pictures" in capsys.readouterr().out
    with Image.open(output) as sheet:
        assert sheet.width > 128


def test_model_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", str(tmp_path / "nowhere"), "--output", str(tmp_path / "demo.png")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_prompt_is_there_once() -> None:
    assert len(set(demo.PROMPTS)) == len(demo.PROMPTS)
