from __future__ import annotations

from pathlib import Path

import pytest

from impasto.cli import main
from tests.training import tiny
from tests.training.conftest import corpus as corpus  # the fixture, shared


def test_train_says_how_far_it_is_and_where_the_result_lies(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(tiny.toml(tiny.autoencoder(steps=4)))
    words = ["train", "autoencoder", str(plan), "--corpus", str(corpus), "--output", str(tmp_path / "run")]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "loading the corpus" in said
    assert str(tmp_path / "run" / "vae") in said


def test_a_plan_of_another_kind_is_refused_before_anything_is_written(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(tiny.toml(tiny.model()))
    words = ["train", "autoencoder", str(plan), "--corpus", str(corpus), "--output", str(tmp_path / "run")]
    assert main(words) == 2
    assert "plan.toml is not valid" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_corpus_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(tiny.toml(tiny.autoencoder()))
    words = ["train", "autoencoder", str(plan), "--corpus", str(tmp_path / "none"), "-o", str(tmp_path / "run")]
    assert main(words) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
