"""What is known of a file, as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from impasto.errors import printable

LONGEST = 200  # characters of a value that are shown


def print_facts(console: Console, title: str, lines: Mapping[str, str]) -> None:
    """Print `lines` (what, value) as a table under `title`; nothing when there are none."""
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
    for key, value in lines.items():
        shown = value if len(value) <= LONGEST else f"{value[:LONGEST]}... ({len(value):,} characters)"
        # What comes out of a file is no markup, and must not steer the terminal.
        table.add_row(Text(printable(key)), Text(printable(shown), overflow="fold"))
    if lines:
        console.print(table)
