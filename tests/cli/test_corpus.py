from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from impasto.cli.corpus import app
from impasto.corpus.store import Corpus
from impasto.errors import CorpusChanged, InvalidInput
from tests.corpus.conftest import tiny, tiny_plan
from tests.corpus.icons import collection, package, plan, sections, shape
from tests.corpus.test_store import edit, with_first

__all__ = ["tiny", "tiny_plan"]


def run(*words: object) -> None:
    app([str(word) for word in words], exit_on_error=False, result_action="return_value")


def test_build_prints_what_was_built(
    tiny_plan: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "built"
    run("build", tiny_plan[0], "--output", output, "--source-archive", tiny_plan[1], "--workers", 1)
    corpus, printed = Corpus.open(output), capsys.readouterr().out
    assert "16 rows" in printed
    assert corpus.root in printed
    assert "licence" in printed


def test_stats_count_everything(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("stats", tiny)
    printed = capsys.readouterr().out
    for words in ("Licences", "Makers", "Collections", "Refused", "Maker of aa", "MIT", "CC-BY-SA-4.0", "flag"):
        assert words in printed


def test_names_out_of_a_corpus_are_printed_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    data = collection("aa", {"fox": shape(1, "red"), "flag-x": shape(2, "red")})
    data["info"]["author"]["name"] = "[bold]Ada :fox:[/] & [/]"
    tarball = tmp_path / "icons.tgz"
    plan_file = plan(tmp_path, package(tarball, data), sections("aa"))
    run("build", plan_file, "--output", tmp_path / "c", "--source-archive", tarball, "--workers", 1)
    run("stats", tmp_path / "c")
    assert "[bold]Ada :fox:[/] & [/]" in capsys.readouterr().out


def test_show_draws_a_sheet(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheets" / "sheet.png"
    run("show", tiny, "--output", sheet, "--collection", "aa", "--count", 3)
    assert "3 of 4 works" in capsys.readouterr().out
    with Image.open(sheet) as opened:
        assert opened.width > 300
    with pytest.raises(InvalidInput, match="corpus stats"):
        run("show", tiny, "--output", sheet, "--maker", "nobody")


def test_verify_says_whether_all_holds(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Corpus.open(tiny).root
    run("verify", tiny, "--root", root)
    assert "All holds" in capsys.readouterr().out
    with pytest.raises(CorpusChanged, match="1 problems"):
        run("verify", tiny, "--root", "sha256:00")
    edit(tiny / "rows.parquet", with_first(caption="wolf"))
    with pytest.raises(CorpusChanged, match="not what it promises"):
        run("verify", tiny)
    assert "row aa:fox was changed" in capsys.readouterr().out


def test_prove_prints_row_and_proof(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("prove", tiny, "aa:owl")
    printed = json.loads(capsys.readouterr().out)
    assert printed["row"]["source"]["key"] == "owl"
    assert printed["proof"]["root"] == Corpus.open(tiny).root


def test_attribution_is_printed_or_written(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("attribution", tiny)
    printed = capsys.readouterr().out
    assert "Maker of aa (https://aa.example): 4 works from aa; licence MIT" in printed
    run("attribution", tiny, "--output", tmp_path / "ATTRIBUTION")
    assert (tmp_path / "ATTRIBUTION").read_text() == printed
