"""`impasto release`: give a model away, with everything that whoever gets it should know."""

from __future__ import annotations

from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from impasto.errors import InvalidInput, NotFound, printable

if TYPE_CHECKING:
    from impasto.release.subject import Subject

app = App(
    name="release",
    help="Give a model, adapter or embedding away: weights, card, terms, credits, bill of materials, signed.",
)


@app.default
def make(
    model: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    author: str,
    licence: str | None = None,
    licence_text: Path | None = None,
    use_policy: Path | None = None,
    part: list[str] | None = None,
    answer: str | None = None,
    results: list[Path] | None = None,
    corpus: Path | None = None,
    contact: str | None = None,
    day: date | None = None,
) -> None:
    """Write a release of a model, adapter or embedding: weights, card, terms, credits, bill, signed with your identity.

    It is refused when the licences of what the model was made from forbid it, and when they leave open what you do not
    answer.

    Args:
        model: folder, file or name of the finished model, or the file or folder of an adapter or embedding.
        output: folder for the release.
        author: whom the release is by.
        licence: SPDX expression to release it under; by itself what its receipt says.
        licence_text: file with the text of that licence, where it does not lie with the model.
        use_policy: file that says what the model is for and what not.
        part: NAME=LICENCE, the licence of something it was made from whose own file names none; may be repeated.
        answer: what you found out about what the licence rules ask; it will stand in the release.
        results: a file that a benchmark wrote about this very model, whose figures the card shows; may be repeated.
        corpus: folder of the corpus that it learned from, where that does not lie in the model's own.
        contact: where makers can write to.
        day: of the release; today by itself.
    """
    from impasto.release.kit import release
    from impasto.release.subject import Choices, gather
    from impasto.rights import artefacts, identity

    choices = Choices(
        day or datetime.now(timezone.utc).date(),
        author,
        licence,
        licence_text,
        use_policy,
        dict(map(_stated, part or [])),
        answer,
        tuple(results or ()),
        corpus,
        contact,
    )
    with Console(stderr=True).status(f"Reading {model} ...") as status:
        subject = gather(artefacts.find(model), choices)
        for step in release(subject, output, identity.own()):
            status.update(f"{step} ...")
    _told(subject, output)


def _stated(text: str) -> tuple[str, str]:
    name, equals, licence = text.rpartition("=")
    if not equals or not name or not licence:
        raise InvalidInput(f"--part {text!r} is not NAME=LICENCE.")
    return name, licence


def _told(subject: Subject, output: Path) -> None:
    from impasto.release.licences import OBLIGATIONS

    console = Console(highlight=False)
    console.print(Text(f"{output}: {printable(subject.name)}, under {subject.licence}"), soft_wrap=True)
    for name in subject.judgement.obligations:
        console.print(Text(f"  {OBLIGATIONS[name]}"), soft_wrap=True)


@app.command
def verify(
    folder: Path,
    /,
    *,
    trust: list[Path] | None = None,
    expect: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Say what holds of a release, what was changed, and what is not known; no network is needed.

    The exit code is 0 when all holds, 1 when anything was changed, and 3 when something is not known, such
    as who signed.

    Args:
        folder: of the release.
        trust: a PEM file with the root certificate of somebody whose signatures you believe; repeat it for several.
            Your own identity is always known.
        expect: the digest that you know the model by, from a picture made with it or a place that you believe.
        as_json: print everything as JSON.
    """
    import json

    from impasto.cli.verify import CODES, show, trusted
    from impasto.release import check

    if not folder.is_dir():
        raise NotFound(f"There is no release at {folder}: it is no folder.")
    with Console(stderr=True).status(f"Reading {folder} ..."):
        report = check.verify(folder, trusted(trust or []), expect)
    if as_json:
        print(json.dumps({"file": str(folder), **report.plain()}, indent=1, ensure_ascii=False))
    else:
        show(report, folder)
    return CODES[report.state]


@app.command
def push(folder: Path, repo: str, /, *, private: bool = False, message: str | None = None) -> None:
    """Put a release into a repository of the Hugging Face hub, or whatever HF_ENDPOINT names, and compare what arrived.

    Nothing is sent when anything in the release was changed. What else is in the repository is taken out of it.

    Args:
        folder: of the release.
        repo: OWNER/NAME; made if it is not there.
        private: let only its owner see a new repository.
        message: of the commit.
    """
    from impasto.release.push import push as pushed

    with Console(stderr=True).status(f"Sending {folder} to {repo} ..."):
        address = pushed(folder, repo, private=private, message=message)
    print(address)
