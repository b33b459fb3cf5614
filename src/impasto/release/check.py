"""Whether a release is what its maker gave out: the signature, every file, and what its files say of each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from impasto.corpus.attribution import by_maker
from impasto.corpus.store import root_of
from impasto.errors import CredentialError, ImpastoError
from impasto.receipt import Receipt
from impasto.release import signature
from impasto.release.card import figures
from impasto.release.kit import RELEASE
from impasto.release.licences import OBLIGATIONS, Part, judge
from impasto.release.subject import Result, essence
from impasto.rights import artefacts, credit, rows
from impasto.rights.report import Finding, Report, stranger
from impasto.schema import file_digest, read_json
from impasto.weights import files
from impasto.weights.layouts import diffusers

MOST_SHOWN = 10


def verify(folder: Path, trust: str = "", expected: str | None = None, corpus: Path | None = None) -> Report:
    """Verify the release in `folder`.

    Args:
        folder: of it.
        trust: PEM of the roots of those who are believed when they sign.
        expected: the digest of the model that it is known by from elsewhere.
        corpus: folder of the corpus, where it is not to be the one in the release.
    """
    findings = list(_files(folder))
    says = list(_says(folder))
    if not any(finding.state == "changed" for finding in findings):
        signer = _signer(folder, trust)
        model = _model(folder, expected, corpus)
        # What a release says its digest is counts for no more than who signed it.
        counts = bool(expected) or signer.state == "holds"
        findings += [signer, *_within(folder), *(f for f in model.findings if counts or f.about != "identity")]
        says += [line for line in model.says if line[0] not in OWN]
    return Report("a release", tuple(findings), tuple(says))


OWN = ("name", "digest", "licence")
"""What both a release and its receipt say."""


def _files(folder: Path) -> Iterator[Finding]:
    """Look at the signature, and at every file, folder and link that is there."""
    try:
        said = signature.signed(folder)
    except CredentialError as error:
        yield Finding("signature", "changed", str(error))
        return
    try:
        signature.holds(folder)
    except CredentialError as error:
        yield Finding("signature", "changed", str(error))
        wrong = list(_different(folder, said, hashed=True))
    else:
        yield Finding("signature", "holds", "The signature fits what was signed.")
        wrong = list(_different(folder, said, hashed=False))
    for text in wrong[:MOST_SHOWN]:
        yield Finding("files", "changed", text)
    if len(wrong) > MOST_SHOWN:
        yield Finding("files", "changed", f"And {len(wrong) - MOST_SHOWN} more.")
    if not wrong:
        yield Finding("files", "holds", f"All {len(said):,} files are those that were signed, and there are no others.")


def _different(folder: Path, said: dict[str, str], *, hashed: bool) -> Iterator[str]:
    there = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    holding = {parent.as_posix() for name in said for parent in Path(name).parents}
    for name, path in there.items():
        if path.is_symlink():
            yield f"{name!r} is a link; a release has none."
        elif path.is_dir():
            if name not in holding:
                yield f"The folder {name!r} was added."
        elif name not in said and name != signature.SIGNATURE:
            yield f"The file {name!r} was added."
        elif hashed and name in said and file_digest(path) != f"sha256:{said[name]}":
            yield f"The file {name!r} was changed."
    yield from (f"The file {name!r} is missing." for name in said if name not in there)


def _signer(folder: Path, trust: str) -> Finding:
    from cryptography import x509

    pem = (folder / signature.SIGNER).read_text(encoding="ascii")
    name = x509.load_pem_x509_certificates(pem.encode())[0].subject.rfc4514_string()
    if trust and signature.holds_under(folder, trust):
        return Finding("signer", "holds", f"It was signed by {name}, whom you know.")
    return stranger(name)


def _within(folder: Path) -> Iterator[Finding]:
    """Look at whether the files of a release fit each other, whoever signed them."""
    try:
        yield from _fitting(folder)
    except (ImpastoError, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        yield Finding("release", "changed", f"{RELEASE} is not in order: {error}")


def _fitting(folder: Path) -> Iterator[Finding]:
    said = read_json(folder / RELEASE)
    path = folder / diffusers.RECEIPT
    receipt = Receipt.parse(read_json(path), str(path)) if path.is_file() else None
    if essence(receipt) != said["receipt"]:
        yield Finding("receipt", "changed", f"The receipt is not the one that {RELEASE} names.")
    found = artefacts.read(_place(folder, said))
    if found.digest != said["identity"] or found.kind != said.get("kind", "model"):
        yield Finding("model", "changed", f"It is {found.digest}; {RELEASE} names {said['identity']}.")
    if essence(found.receipt) != essence(receipt):
        yield Finding("receipt", "changed", f"The receipt in {found.path.name} is another than the one beside it.")
    yield _licence(said)
    if found.kind == "model":
        for name in diffusers.COMPONENTS:
            yield from _header(folder / name / diffusers.COMPONENTS[name].weights)
    else:
        yield from _header(found.path)
        yield from _credits(folder, receipt)
    card = (folder / "README.md").read_text(encoding="utf-8")
    for name, wanted in said["results"].items():
        place = folder / "benchmarks" / Path(name).name
        lines = list(figures(Result(name, read_json(place))))
        if file_digest(place) != wanted or any(line not in card for line in lines):
            yield Finding("figures", "changed", f"The card's figures are not those of benchmarks/{name}.")
        else:
            yield Finding("figures", "holds", f"The card's {len(lines)} figures are those of benchmarks/{name}.")


def _place(folder: Path, said: dict[str, Any]) -> Path:
    """Return where the model, adapter or embedding of a release is."""
    name = said.get("file")
    return folder / Path(str(name)).name if name else folder


def _credits(folder: Path, receipt: Receipt | None) -> Iterator[Finding]:
    """Look at whether ATTRIBUTION and rows are about what an adapter learned from."""
    learned = {use.selection for use in receipt.corpora} if receipt else set()
    text = (folder / artefacts.CREDIT).read_text(encoding="utf-8")
    if (named := credit.roots(text)) and not named <= learned:
        yield Finding("credits", "changed", f"{artefacts.CREDIT} is not about the rows that it learned from.")
    elif named:
        yield Finding("credits", "holds", f"{artefacts.CREDIT} is about rows that it learned from.")
    if (folder / rows.ROWS).is_file():
        taught = rows.read(folder / rows.ROWS)
        lines = [one.line() for one in by_maker(taught)]
        if root_of(taught) not in learned or any(line not in text for line in lines):
            yield Finding("corpus", "changed", f"{rows.ROWS} or {artefacts.CREDIT} is not of what it learned from.")
        else:
            yield Finding(
                "corpus", "holds", f"All {len(taught):,} rows are what it was taught, and their makers named."
            )


def _licence(said: dict[str, object]) -> Finding:
    parts = said["parts"]
    assert isinstance(parts, list)
    judged = judge([Part(str(one["name"]), one["role"], str(one["licence"])) for one in parts], str(said["licence"]))
    if judged.verdict != said["verdict"] or list(judged.obligations) != said["obligations"]:
        return Finding("licence", "changed", f"Its licences allow and oblige something else than {RELEASE} says.")
    if judged.verdict == "ok":
        return Finding("licence", "holds", f"What it was made from may be given on under {said['licence']}.")
    return Finding(
        "licence", "unknown", f"Its maker answers for its licence: {said['answer']} ({' '.join(judged.reasons)})"
    )


def _header(path: Path) -> Iterator[Finding]:
    file = files.load(path)
    said = file.metadata.get("modelspec.hash_sha256")
    if said != f"0x{files.data_sha256(file)}":
        yield Finding("header", "changed", f"The tensors of {path.parent.name} are not those that its header names.")


def _model(folder: Path, expected: str | None, corpus: Path | None) -> Report:
    try:
        said = read_json(folder / RELEASE)
        return artefacts.verify(_place(folder, said), corpus, expected or said.get("identity"))
    except ImpastoError as error:
        return Report("a model", (Finding("model", "changed", f"The model cannot be read: {error}"),))


def _says(folder: Path) -> Iterator[tuple[str, str]]:
    try:
        said = read_json(folder / RELEASE)
    except ImpastoError:
        return
    for what in ("name", "identity", "author", "day", "licence"):
        yield what, str(said.get(what))
    obligations = said.get("obligations")
    for name in obligations if isinstance(obligations, list) else ():
        yield "asks", OBLIGATIONS.get(str(name), str(name))
