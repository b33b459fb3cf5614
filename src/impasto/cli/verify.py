"""`impasto verify`: what holds of a picture or a model, what was changed, and what is not known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from impasto.errors import InvalidInput, NotFound, printable

if TYPE_CHECKING:
    from impasto.pictures.origin import Commitment
    from impasto.rights.verify import Report, State

HEADS: dict[State, tuple[str, str]] = {
    "holds": ("Holds", "green"),
    "changed": ("Changed", "bold red"),
    "unknown": ("Not known", "yellow"),
}
CODES: dict[State, int] = {"holds": 0, "changed": 1, "unknown": 3}
LONGEST = 300  # characters of what a file says of itself that are shown


def verify(
    file: Path,
    /,
    *,
    trust: list[Path] | None = None,
    recipe: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Say what holds of a picture, a model or an adapter, what was changed, and what is not known.

    Pictures with content credentials (C2PA) are verified whoever made them, without a network. The exit code is 0 when
    all holds, 1 when anything was changed, and 3 when nothing was, as far as can be seen, but something is not known,
    such as who a signer is.

    Args:
        file: the picture, the folder or file of a model, or the file of an adapter.
        trust: a PEM file with the root certificate of somebody whose signatures you believe; repeat it for several.
            Your own identity is always known.
        recipe: the file that was kept beside a picture made with "--metadata private".
        as_json: print everything as JSON.
    """
    from impasto.rights import verify as rights

    kept = _kept(recipe) if recipe else None
    with Console(stderr=True).status(f"Reading {file} ..."):
        report = rights.verify(file, _trusted(trust or []), kept)
    if as_json:
        print(json.dumps({"file": str(file), **report.plain()}, indent=1, ensure_ascii=False))
    else:
        _print(report, file)
    return CODES[report.state]


def _trusted(paths: list[Path]) -> str:
    from impasto.rights import identity

    try:
        given = [identity.authorities(path.read_text(encoding="ascii", errors="replace")) for path in paths]
    except OSError as error:
        raise NotFound(f"Cannot read {error.filename}: {error.strerror or error}.") from error
    return identity.trusted() + "".join(given)


def _kept(path: Path) -> Commitment:
    from impasto.pictures.origin import Commitment
    from impasto.schema import read_json

    return Commitment.parse(read_json(path), str(path), InvalidInput)


def _print(report: Report, file: Path) -> None:
    console = Console(highlight=False)
    console.print(Text.assemble((str(file), "bold"), f" is {report.what}."), soft_wrap=True)
    for state, (head, style) in HEADS.items():
        for number, finding in enumerate(report.of(state)):
            # What comes out of a file is no markup, and must not steer the terminal.
            label = Text(f"{'' if number else head:<10} ", style)
            console.print(label + Text(printable(finding.text)), soft_wrap=True)
    for number, (what, value) in enumerate(report.says):
        label = Text(f"{'' if number else 'It says':<10} ", "dim")
        shown = value if len(value) <= LONGEST else f"{value[:LONGEST]}..."
        console.print(label + Text(f"{what}: {printable(shown)}"), soft_wrap=True)
