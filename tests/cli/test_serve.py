"""`impasto serve`: what its words become, and when it refuses to begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from impasto.cli import main, serve
from impasto.server.settings import Settings
from tests.server.running import model_folder

TOKEN = "a-token-of-more-than-16"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that a server would have been started with."""
    found: list[Settings] = []
    monkeypatch.setattr(serve, "_run", lambda settings, *_: found.append(settings))
    monkeypatch.delenv("IMPASTO_TOKEN", raising=False)
    return found


def test_by_itself_it_listens_on_loopback_without_a_token(given: list[Settings]) -> None:
    assert main(["serve"]) == 0
    (settings,) = given
    assert (settings.host, settings.token, settings.models) == ("127.0.0.1", None, ("glyph",))
    assert settings.is_local
    assert settings.data.name == "server"


def test_elsewhere_a_token_is_drawn_and_shown_once(given: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "0.0.0.0"]) == 0
    token = given[0].token
    assert token is not None
    assert len(token) >= 43
    captured = capsys.readouterr()
    assert captured.err.count(token) == 1
    assert token not in captured.out


def test_a_token_comes_from_a_file_or_the_environment(
    given: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\nmore\n")
    assert main(["serve", "--token-file", str(file)]) == 0
    monkeypatch.setenv("IMPASTO_TOKEN", TOKEN + "2")
    assert main(["serve", "--host", "0.0.0.0"]) == 0
    assert [settings.token for settings in given] == [TOKEN, TOKEN + "2"]
    assert TOKEN not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--token-file", "{folder}/none"], "cannot be read"),
        (["--token-file", "{folder}/empty"], "is empty"),
        (["--token-file", "{folder}/short"], "token"),
        (["--port", "70000"], "port"),
        (["--batch", "0"], "batch"),
        (["--max-steps", "9999"], "max_steps"),
    ],
)
def test_words_that_cannot_be_used(
    given: list[Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "short").write_text("short\n")
    assert main(["serve", *(word.format(folder=tmp_path) for word in words)]) == 2
    assert message in capsys.readouterr().err
    assert given == []


def test_models_and_names_may_be_several(given: list[Settings]) -> None:
    words = ["--model", "a", "--model", "b", "--name", "x.example", "--adapters", "loras", "--max-side", "512"]
    assert main(["serve", *words]) == 0
    assert (given[0].models, given[0].names, given[0].adapters) == (("a", "b"), ("x.example",), ("loras",))
    assert given[0].limits.max_side == 512


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nowhere"], "nowhere"),
        (["--port", "1"], "cannot be listened on"),
        (["--database", "x"], "database"),
    ],
)
def test_it_says_why_it_cannot_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    model = [] if "--model" in words else ["--model", model_folder(tmp_path)]
    host = ["--host", "192.0.2.1"] if "--port" in words else []  # an address that no machine has
    assert main(["serve", "--data", str(tmp_path / "data"), *model, *host, *words]) == 2
    assert message in capsys.readouterr().err
