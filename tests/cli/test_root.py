from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest
from cyclopts import App

import impasto
from impasto import cli, errors
from impasto.cli import COMMANDS, EXTRAS, Command, main


def raising(error: BaseException) -> Command:
    """A row whose command, found here as `failing`, raises `error`."""
    globals()["failing"] = lambda: (_ for _ in ()).throw(error)
    sys.modules.setdefault("failing_commands", sys.modules[__name__])
    return Command("failing_commands:failing", "Fail.")


@pytest.mark.parametrize("name", COMMANDS)
def test_table_says_what_the_command_says_of_itself(name: str) -> None:
    module, attribute = COMMANDS[name].place.split(":")
    command = getattr(importlib.import_module(module), attribute)
    help_text = command.help if isinstance(command, App) else inspect.getdoc(command)

    assert help_text.splitlines()[0] == COMMANDS[name].line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"impasto {name}" in capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == impasto.__version__


def test_python_dash_m() -> None:
    run = subprocess.run([sys.executable, "-m", "impasto", "--version"], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == impasto.__version__


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidInput("bad"), 2),
        (errors.InvalidRecipe("bad"), 2),
        (errors.NotFound.among("sampler", "x", ["euler"]), 2),
        (errors.CorpusChanged("bad"), 1),
        (errors.KeyMismatch("unet", [], ["c"]), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_error_is_one_message_and_a_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "COMMANDS", {"fail": raising(error)})

    assert main(["fail"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"Error: {str(error) or 'Interrupted.'}\n"


def test_message_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    message = f"[bold]not markup[/] {'long words ' * 20}.\n  and a second line"
    monkeypatch.setattr(cli, "COMMANDS", {"fail": raising(errors.InvalidInput(message))})

    assert main(["fail"]) == 2
    assert capsys.readouterr().err == f"Error: {message}\n"


@pytest.mark.parametrize("package", EXTRAS)
def test_missing_extra_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ImportError("cannot import the command")
    error.__cause__ = ModuleNotFoundError(f"No module named {package!r}", name=package)
    monkeypatch.setattr(cli, "COMMANDS", {"fail": raising(error)})

    assert main(["fail"]) == 1
    assert f'pip install "impasto[{EXTRAS[package]}]"' in capsys.readouterr().err


def test_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "COMMANDS", {"fail": raising(ImportError("no such name"))})

    with pytest.raises(ImportError, match="no such name"):
        main(["fail"])


def test_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generat"]) == 2
    choices = ", ".join(sorted(COMMANDS))
    assert capsys.readouterr().err == f"Error: Unknown command 'generat'. Choose one of: {choices}.\n"
