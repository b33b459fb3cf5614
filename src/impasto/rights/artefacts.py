"""What holds of a model, an adapter or an embedding, what was changed, and what cannot be known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from impasto.adapters.embeddings import Embedding, read_embedding
from impasto.adapters.lora import Adapter, read_adapter
from impasto.adapters.metadata import receipt_of
from impasto.corpus import merkle
from impasto.corpus.store import MANIFEST, Corpus, RowFile, canonical_order
from impasto.errors import CorpusError, ImpastoError, InvalidInput, NotFound, WeightsError
from impasto.receipt import Receipt
from impasto.rights import credit, receipts
from impasto.rights.report import Finding, Report
from impasto.schema import read_json
from impasto.weights.checkpoint import Checkpoint
from impasto.weights.detect import kind_at, open_model
from impasto.weights.layouts import diffusers
from impasto.weights.store import Kind, holding
from impasto.weights.store import everything as stored
from impasto.weights.store import find as find_model

PACKAGED = Path(__file__).parents[1]
MOST_SHOWN = 5  # of many problems of one kind

CREDIT = "ATTRIBUTION"

WORKS = "works"
"""Folder in a model's own for the index of what it learned from (`rights.works`)."""


def find(path: Path) -> Path:
    """Return `path`, or when nothing is there, where the model of that name is.

    Raises:
        NotFound: nothing has that name; lists what there is.
    """
    packaged = {folder.parent.name: folder.parent for folder in PACKAGED.glob(f"*/{diffusers.INDEX}")}
    return path if path.exists() else find_model(str(path), packaged=packaged)


@dataclass(frozen=True, eq=False)
class Artefact:
    """A model, adapter or embedding that is here.

    Attributes:
        kind: `model`, `adapter` or `embedding`.
        name: what people call it.
        digest: its identity, as its files are.
        path: where.
        receipt: what it was made from, where it says so, believed as it is.
        credit: the makers that it learned from, as its ATTRIBUTION has them.
    """

    kind: str
    name: str
    digest: str
    path: Path
    receipt: Receipt | None = None
    credit: str | None = None


def everything() -> list[Path]:
    """Return where all models, adapters and embeddings are that come with Impasto, are in the store or registered."""
    kinds: tuple[Kind, ...] = ("model", "adapter", "embedding")
    packaged = [index.parent for index in sorted(PACKAGED.glob(f"*/{diffusers.INDEX}"))]
    return [*packaged, *(path for kind in kinds for path in stored(kind).values())]


def holds_weights(path: Path) -> bool:
    """Return whether what is at `path` is of weights, by its first bytes; folders always are.

    Raises:
        NotFound: there is nothing.
    """
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror or error}.") from error
    return start[8:] == b"{" or start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04"))  # safetensors; torch.save


def read(path: Path) -> Artefact:
    """Read what is at `path`; its receipt is not compared with it.

    Raises:
        NotFound: there is no model, adapter or embedding.
        InvalidInput, WeightsError: it is damaged.
    """
    kind = "model" if diffusers.is_folder(path) else _kind(path)
    if kind == "model":
        checkpoint = open_model(path)
        credit = checkpoint.notices.get(CREDIT)
        return Artefact(kind, checkpoint.about.name, checkpoint.digest, path, checkpoint.receipt, credit)
    if kind in ("adapter", "embedding"):
        made: Adapter | Embedding = read_adapter(path) if kind == "adapter" else read_embedding(path)
        return Artefact(kind, made.name, made.digest, path, receipt_of(made))
    raise NotFound(f"There is no model, adapter or embedding at {path}, but {kind or 'nothing that is known here'}.")


def verify(path: Path, corpus: Path | None = None, expected: str | None = None) -> Report:
    """Verify the model, adapter or embedding at `path`, a file or folder; what it is is decided by its content.

    Args:
        path: of it.
        corpus: folder of the corpus that it says it learned from; by itself the one in the model's folder.
        expected: the digest that it is known by from elsewhere, such as the recipe of a picture.

    Raises:
        NotFound: there is nothing that can be verified.
    """
    try:
        kind = "model" if diffusers.is_folder(path) else _kind(path)
        if kind == "model":
            return _model(path, corpus, expected)
        if kind in ("adapter", "embedding"):
            return _adapter(path, kind, expected)
    except (WeightsError, InvalidInput) as error:
        return Report("damaged, or nothing that is known here", (Finding("file", "changed", str(error)),))
    raise NotFound(f"There is no model, adapter or embedding at {path}, but {kind or 'nothing that is known here'}.")


def _kind(path: Path) -> str | None:
    if path.is_file():
        return kind_at(path)[0]
    readers: dict[str, Callable[[Path], object]] = {"adapter": read_adapter, "embedding": read_embedding}
    for kind, reader in readers.items():
        try:
            reader(path)
        except NotFound:
            continue
        return kind
    return None


def _model(path: Path, corpus: Path | None, expected: str | None) -> Report:
    checkpoint = open_model(path)
    receipt = checkpoint.receipt
    findings = list(_of_receipt(checkpoint, path, receipt))
    if entry := holding(path):
        origin = entry.entry.origin
        words = f"pulled from {origin.repo} at {origin.revision}" if origin else "put into the store"
        findings.append(Finding("store", "holds", f"Every file is what was {words}."))
    findings.append(_known(checkpoint.digest, expected or _kept(path)))
    if receipt:
        findings += _of_corpus(receipt, checkpoint, corpus or path / receipts.CORPUS)
        findings += _of_works(receipt, path)
    return Report("a model", tuple(findings), tuple(_says(checkpoint)))


def _of_receipt(checkpoint: Checkpoint, path: Path, receipt: Receipt | None) -> Iterator[Finding]:
    if receipt is None:
        yield Finding("receipt", "unknown", "It has no receipt: what it was made from is not known.")
        return
    wrong = list(receipts.mismatches(checkpoint, path))
    yield from (Finding(mismatch.about, "changed", mismatch.text) for mismatch in wrong)
    about = {mismatch.about for mismatch in wrong}
    if receipt.identity is None and not receipt.components:
        yield Finding("weights", "unknown", "Its receipt does not say which weights it is of.")
    elif not about & {"weights", "configuration"}:
        yield Finding("weights", "holds", "Every tensor, the configuration and the tokenizer are those of the receipt.")
    if "parent" not in about and any(receipts.parts(receipt, path)):
        yield Finding("parent", "holds", "The receipts of its parts are of what it was made from.")


def _kept(path: Path) -> str | None:
    """Return the digest that the store keeps of what is at `path`."""
    found = holding(path)
    return found.entry.identity if found else None


def _known(digest: str, expected: str | None) -> Finding:
    if expected is None:
        text = (
            "Whether it is the one that its makers gave out is not known: who changes weights can change the receipt. "
            f"If you know its digest from a place that you believe, give that with --expect. It is {digest}."
        )
        return Finding("identity", "unknown", text)
    if digest == expected:
        return Finding("identity", "holds", "It has the digest that it is known by.")
    return Finding("identity", "changed", f"It is another one: its digest is {digest}, not {expected}.")


def _of_corpus(receipt: Receipt, checkpoint: Checkpoint, folder: Path) -> Iterator[Finding]:
    """Look at who is credited, and at the rows that it learned from, where they are here."""
    if not receipt.corpora:
        yield Finding("corpus", "unknown", "Its receipt names no corpus: what it learned from is not known.")
        return
    text = checkpoint.notices.get(CREDIT)
    if text is None:
        yield Finding("credits", "unknown", f"It comes without {CREDIT}, which names the makers that it learned from.")
    elif (named := credit.roots(text)) == (learned := {use.selection for use in receipt.corpora}):
        yield Finding("credits", "holds", f"{CREDIT} is about the rows that it learned from.")
    elif receipt.kind == "assembly" and named and named < learned:
        yield Finding("credits", "unknown", f"{CREDIT} is about some of the rows only that its parts learned from.")
    else:
        yield Finding("credits", "changed", f"{CREDIT} is not about the rows that it learned from.")
    if not (folder / MANIFEST).is_file():
        roots = ", ".join(dict.fromkeys(use.root for use in receipt.corpora))
        yield Finding("corpus", "unknown", f"The corpus is not here, to look at who made it (root {roots}).")
        return
    yield from _of_rows(receipt, text, folder)


def _of_rows(receipt: Receipt, text: str | None, folder: Path) -> Iterator[Finding]:
    try:
        corpus = Corpus.open(folder)
        problems = corpus.verify()
    except (CorpusError, InvalidInput, NotFound) as error:
        yield Finding("corpus", "changed", f"The corpus cannot be read: {error}")
        return
    if corpus.root not in {use.root for use in receipt.corpora}:
        problems.insert(0, f"its root is {corpus.root}, which the model did not learn from")
    shown = [*problems[:MOST_SHOWN], *([f"and {len(problems) - MOST_SHOWN} more"] * (len(problems) > MOST_SHOWN))]
    if problems:
        yield Finding("corpus", "changed", f"The corpus is not what was learned from: {'; '.join(shown)}.")
        return
    yield Finding("corpus", "holds", f"All {len(corpus.rows):,} rows of the corpus are what was learned from.")
    if text is not None and not receipts.credited(text, corpus):
        yield Finding("credits", "unknown", f"The makers in {CREDIT} are not those of all training rows of the corpus.")


def _of_works(receipt: Receipt, path: Path) -> Iterator[Finding]:
    """Look at the index of works that pictures are traced in, where the model brings one."""
    place = path / WORKS
    if not (place / "index.json").is_file():
        return
    try:
        said, rows = read_json(place / "index.json"), RowFile(place / "rows.parquet")
        root = merkle.root([merkle.leaf_hash(row.leaf()) for row in canonical_order(rows)])
    except (ImpastoError, ValueError) as error:
        yield Finding("works", "changed", f"Its index of works cannot be read: {error}")
        return
    if said.get("selection") != root or root not in {use.selection for use in receipt.corpora}:
        yield Finding("works", "changed", "Its index of works is not of the rows that it learned from.")
    else:
        yield Finding("works", "holds", f"Its index of {len(rows):,} works is of rows that it learned from.")


def _adapter(path: Path, kind: str, expected: str | None) -> Report:
    made: Adapter | Embedding = read_adapter(path) if kind == "adapter" else read_embedding(path)
    findings = []
    receipt = None
    try:
        receipt = receipt_of(made)
    except ImpastoError as error:
        findings.append(Finding("weights", "changed", str(error)))
    else:
        if receipt is None:
            findings.append(Finding("receipt", "unknown", "It has no receipt: what it was made from is not known."))
        else:
            findings.append(Finding("weights", "holds", "Every tensor is that of the receipt."))
    findings.append(_known(made.digest, expected or _kept(path)))
    article = "an adapter" if kind == "adapter" else "an embedding"
    return Report(article, tuple(findings), tuple(says(made.name, made.digest, receipt)))


def says(name: str, digest: str, receipt: Receipt | None) -> Iterator[tuple[str, str]]:
    """Yield what a receipt says, (what, value), for people."""
    yield "name", name
    yield "digest", digest
    if receipt is None:
        return
    yield "made by", f"{receipt.code}, {receipt.finished:%Y-%m-%d}" if receipt.finished else receipt.code
    yield "licence", receipt.licence or "not said"
    yield from (("made from", f"{parent.name} ({parent.role}, {parent.identity})") for parent in receipt.parents)
    yield from (("learned from", f"{use.rows:,} rows of a corpus with root {use.root}") for use in receipt.corpora)


def _says(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    yield from says(checkpoint.about.name, checkpoint.digest, checkpoint.receipt)
    yield from credits_of(checkpoint.receipt, checkpoint.notices.get(CREDIT))


def credits_of(receipt: Receipt | None, text: str | None) -> list[tuple[str, str]]:
    """Return (what, value) of the makers that the ATTRIBUTION `text` names, where it is about what `receipt` names."""
    if receipt is None or text is None or credit.roots(text) != {use.selection for use in receipt.corpora}:
        return []
    return credit.of_text(text)
