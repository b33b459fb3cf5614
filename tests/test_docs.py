"""The documentation is true: its links lead somewhere, its commands are commands, docs/cli.md is current."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from impasto.cli import COMMANDS, root

HOUSE = Path(__file__).parents[1]
PAGES = sorted([*HOUSE.glob("*.md"), *HOUSE.glob("docs/*.md")])


def commands() -> list[str]:
    """Every line of an indented or fenced block that starts with `impasto`."""
    texts = (page.read_text(encoding="utf-8").replace("\\\n", " ") for page in PAGES if page.name != "cli.md")
    found = (re.match(r"(?:    )?impasto ((?:[\w-]+ ?)+.*)$", line) for text in texts for line in text.splitlines())
    return sorted({match[1] for match in found if match})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text) + re.findall(r'<img[^>]* src="([^"]+)"', text)

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("command", commands())
def test_commands_are_commands(command: str) -> None:
    words = shlex.split(command, comments=True)

    root(imported=COMMANDS).parse_args(words, exit_on_error=False, print_error=False)


def test_cli_page_is_current() -> None:
    tool = HOUSE / "tools" / "cli_reference.py"
    run = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
