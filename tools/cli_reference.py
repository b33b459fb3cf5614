"""Write docs/cli.md from the commands; with `--check`, only say whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

from impasto.cli import COMMANDS, root

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
NOTE = "<!-- Written by `make docs` from the commands in src/impasto/cli. Edit those. -->\n\n"


def reference() -> str:
    """Return the page as it should be."""
    app = root(imported=COMMANDS)
    for name in COMMANDS:
        app[name].default_parameter = app.default_parameter  # inherited when run, but not seen by `generate_docs`
    lines = app.generate_docs().splitlines()
    return NOTE + "\n".join(line.rstrip() for line in lines).strip() + "\n"


def main(words: list[str]) -> int:
    """Write the page or check it, and return the exit code."""
    page = reference()
    if words != ["--check"]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.name} is not what the commands say. Run `make docs`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
