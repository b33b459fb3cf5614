from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from impasto.adapters.lora import read_adapter
from impasto.cli import main
from impasto.cli.lesson import Page, curve
from impasto.cli.teach import How, LowRankOptions, adapter, learning
from impasto.training.loop import Tick
from impasto.training.runs import Preparing
from impasto.training.state import Progress
from tests.training import teaching


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teach")
    teaching.model(folder / "model")
    teaching.pictures(folder / "pictures")
    return folder


def test_one_command_teaches_and_says_where_the_sheet_is(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "lora", str(work / "pictures"), "--model", str(work / "model"), "-o", str(work / "My Fox!")]
    options = [
        "--subject",
        "zwx fox",
        "--steps",
        "2",
        "--rank",
        "2",
        "--batch",
        "1",
        "--sample",
        "zwx",
        "--i-made-these",
    ]
    assert main([*words, *options]) == 0
    said = capsys.readouterr().err
    assert str(work / "My Fox!" / "before-after.png") in said
    assert "Nobody said" not in said
    found = read_adapter(work / "My Fox!" / "my-fox.safetensors")
    assert found.rank == 2
    assert found.metadata["impasto.consent"] == "owner: 4"


def test_what_is_missing_is_said_before_anything_is_written(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "lora", str(work / "pictures"), "--model", str(work / "model"), "-o", str(work / "none")]
    assert main(words) == 2
    assert "--subject" in capsys.readouterr().err
    assert main([*words, "--style", "ink", "--licence", "CC0-1.0"]) == 2
    assert "--maker" in capsys.readouterr().err
    assert main([*words, "--style", "ink", "--rank", "0"]) == 2
    assert "adapter.rank" in capsys.readouterr().err
    assert not (work / "none").exists()


def test_options_have_their_places_in_a_plan() -> None:
    how = How(steps=3, learning_rate=0.1, optimiser="prodigy", caption_dropout=0.2, flip=True)
    assert learning(how) == {
        "steps": 3,
        "optimiser": {"learning_rate": 0.1, "name": "prodigy"},
        "flip": True,
        "wording": {"dropout": 0.2},
    }
    assert learning(None) == {}
    options = LowRankOptions(rank=3, text_encoder=True, rslora=True)
    assert adapter(options) == {"rank": 3, "parts": ("unet", "text_encoder"), "rank_stabilised": True}


def test_the_page_shows_how_far_it_is(tmp_path: Path) -> None:
    page = Page("fox: lora", tmp_path)
    console = Console(width=90, record=True, file=io.StringIO())
    page.take(Preparing("encoding the pictures", 2, 5))
    console.print(page)
    assert "2 of 5" in console.export_text()
    for step in range(1, 5):
        page.take(Tick(Progress(step, step, float(step)), 10, 1.0 / step, 1e-4, 1.0, {"error": 0.25}))
    console.print(page)
    said = console.export_text()
    assert all(words in said for words in ("4 of 10", "0:00:06 left", "error", "0.2500", "1.00 pictures a second"))


def test_the_curve_falls_as_the_loss_does() -> None:
    assert curve([3.0, 2.0, 1.0], 60) == "█▄▁"
    assert curve([1.0] * 100, 10) == "▁" * 10
