"""`impasto verify`: what holds of a picture or a model, what was changed, and what is not known."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from impasto.errors import InvalidInput, NotFound, printable

if TYPE_CHECKING:
    from impasto.pictures.origin import Commitment
    from impasto.rights.report import Report, State

HEADS: dict[State, tuple[str, str]] = {
    "holds": ("Holds", "green"),
    "changed": ("Changed", "bold red"),
    "unknown": ("Not known", "yellow"),
}
CODES: dict[State, int] = {"holds": 0, "changed": 1, "unknown": 3}
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
LONGEST = 300  # characters of what a file says of itself that are shown


def verify(
    file: Path,
    /,
    *,
    trust: list[Path] | None = None,
    recipe: Path | None = None,
    corpus: Path | None = None,
    expect: str | None = None,
    mark: str | None = None,
    original: Path | None = None,
    folder: Annotated[list[Path] | None, Parameter(alias="--in")] = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Say what holds of a picture, a model, an adapter or a release, what was changed, and what is not known.

    And what it says of itself: what made it, from what, by whom, and under which terms. No network is needed. Pictures
    with content credentials (C2PA) are verified whoever made them; of a picture's model and adapters, terms and makers
    are told where they are here: in what comes with Impasto, in the store, or below --in. The exit code is 0 when
    all holds, 1 when anything was changed, and 3 when nothing was, as far as can be seen, but something is not known,
    such as who a signer is.

    Args:
        file: the picture, the folder, file or name of a model, the file of an adapter, or the folder of a release.
        trust: a PEM file with the root certificate of somebody whose signatures you believe; repeat it for several.
            Your own identity is always known.
        recipe: the file that was kept beside a picture made with "--metadata private".
        corpus: the folder of the corpus that a model says it learned from, where it does not lie in the model's own.
        expect: the digest that you know a model or adapter by, from a picture made with it or a place that you believe.
        mark: name or path of a model: look in the picture's noise for the mark that "generate --soft-binding" leaves,
            by going back from the picture, which takes as long as making it twice.
        original: a picture with the recipe whose mark may be in this one, which lost its own.
        folder: a folder to look for a picture's model and adapters in besides; repeat the option for several.
        as_json: print everything as JSON.
    """
    with Console(stderr=True).status(f"Reading {file} ..."):
        if _holds_weights(file):
            from impasto.rights import artefacts  # torch comes in here

            place = artefacts.find(file)
            report = _release(place, trust or [], corpus, expect) or artefacts.verify(place, corpus, expect)
        else:
            from impasto.rights.verify import picture

            report = picture(file, trusted(trust or []), _kept(recipe) if recipe else None)
            if any(what == "model" for what, _ in report.says):
                from impasto.rights import behind, lineage  # torch comes in here

                report = behind.added(report, file, lineage.Known(folders=folder or []))
            if mark:
                report = _marked(report, file, mark, original)
    if as_json:
        print(json.dumps({"file": str(file), **report.plain()}, indent=1, ensure_ascii=False))
    else:
        show(report, file)
    return CODES[report.state]


def _holds_weights(path: Path) -> bool:
    """Return whether `path` is a model, an adapter or the like, by its first bytes, or may be a model's name."""
    if not path.is_file():
        return path.is_dir() or (path == Path(path.name) and path.suffix.lower() not in PICTURES)
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" or start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04"))  # safetensors; torch.save


def _release(folder: Path, trust: list[Path], corpus: Path | None, expect: str | None) -> Report | None:
    """Return the report of a release, None where there is none at `folder`."""
    if not (folder / "release.json").is_file():
        return None
    if all(map(find_spec, ("model_signing", "OpenSSL", "license_expression"))):
        from impasto.release import check

        return check.verify(folder, trusted(trust), expect, corpus)
    from impasto.rights import artefacts
    from impasto.rights.report import Finding

    report = artefacts.verify(folder, corpus, expect)
    words = 'It is a release. To see whether its signature holds: pip install "impasto[release]"'
    return replace(report, findings=(*report.findings, Finding("signature", "unknown", words)))


def trusted(paths: list[Path]) -> str:
    """Return the certificates in `paths`, and those that are always known, as PEM.

    Raises:
        NotFound: a file cannot be read.
    """
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


def _marked(report: Report, file: Path, model: str, original: Path | None) -> Report:
    import impasto
    from impasto.pictures import metadata
    from impasto.rights import inversion  # torch comes in here

    said = metadata.read(original or file)
    return inversion.looked_for(report, file, impasto.load(model, device="auto"), said.recipe)


def show(report: Report, file: Path) -> None:
    """Print what was found of `file`."""
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
