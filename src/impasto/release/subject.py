"""What is to be released: a finished model, what is known of it, and what its maker says besides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from impasto.adapters.embeddings import Embedding, read_embedding
from impasto.adapters.lora import Adapter, read_adapter
from impasto.corpus.record import Row
from impasto.corpus.store import MANIFEST, Corpus, root_of
from impasto.errors import InvalidInput
from impasto.receipt import Parent, Receipt
from impasto.release.licences import Judgement, Part, judge
from impasto.rights import artefacts, credit, receipts, rows
from impasto.rights.artefacts import CREDIT
from impasto.rights.lineage import Known
from impasto.schema import digest, read_json
from impasto.weights.checkpoint import Checkpoint
from impasto.weights.detect import open_model

Kind = Literal["model", "adapter", "embedding"]

FREE_BY_RIGHT = {"public-domain": "CC-PDM-1.0"}
"""Consent basis -> licence, for rows whose source names none."""


@dataclass(frozen=True)
class Choices:
    """What the maker says, because no file does.

    Attributes:
        day: of the release.
        author: whom the release is by.
        licence: SPDX expression to release under; the receipt's by itself.
        licence_text: file with the licence's text.
        use_policy: file that says what it is for, and what not.
        stated: licences of parts whose own files name none, by the parts' names.
        answer: what a person found out about what the licence rules ask.
        results: files that benchmarks wrote about this very model.
        corpus: folder of the manifest of what it learned from; the one in the model's own by itself.
        contact: where makers can write to.
    """

    day: date
    author: str
    licence: str | None = None
    licence_text: Path | None = None
    use_policy: Path | None = None
    stated: Mapping[str, str] = field(default_factory=dict)
    answer: str | None = None
    results: tuple[Path, ...] = ()
    corpus: Path | None = None
    contact: str | None = None


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    Attributes:
        name: of its file.
        content: of it.
    """

    name: str
    content: dict[str, Any]

    @property
    def figures(self) -> list[dict[str, Any]]:
        """The measured values: `name`, `what`, `value`, and as far as they are there `low`, `high`, `n`, `unit`."""
        return [figure for figure in self.content.get("figures", []) if isinstance(figure, dict)]


@dataclass(frozen=True, eq=False)
class Finished:
    """A model, adapter or embedding, opened, whose receipt holds.

    Attributes:
        kind: which of them it is.
        name: what people call it.
        identity: its digest.
        receipt: what it was made from.
        notices: texts that lie with it, by name.
        checkpoint: of a model.
        made: an adapter or embedding.
    """

    kind: Kind
    name: str
    identity: str
    receipt: Receipt | None
    notices: Mapping[str, str]
    checkpoint: Checkpoint | None = None
    made: Adapter | Embedding | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, adapter or embedding that is to be released.

    Attributes:
        path: its folder or file.
        finished: it, opened.
        rows: what it learned from, training rows only; empty where they are not here.
        corpus: the corpus, where it is here.
        parts: everything that it was made from, with licences.
        licence: that it is released under.
        judgement: whether that is allowed, and what it obliges to.
        choices: what its maker says.
        results: what benchmarks found about it.
    """

    path: Path
    finished: Finished
    rows: tuple[Row, ...]
    corpus: Corpus | None
    parts: tuple[Part, ...]
    licence: str
    judgement: Judgement
    choices: Choices
    results: tuple[Result, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        return self.finished.name

    @property
    def kind(self) -> Kind:
        """What it is."""
        return self.finished.kind

    @property
    def receipt(self) -> Receipt | None:
        """What it was made from."""
        return self.finished.receipt

    @property
    def base(self) -> list[str]:
        """Names of the models it was made from, beside its own parts."""
        return [part.name for part in self.parts if part.role in ("base", "adapter") and part.name != self.name]


def opened(path: Path) -> Finished:
    """Return what is at `path`.

    Raises:
        NotFound, WeightsError: there is nothing that can be released, or it is damaged.
        ReceiptMismatch: it is not what its receipt says.
    """
    found = artefacts.read(path)
    if found.kind == "model":
        checkpoint = open_model(path)
        receipts.check(checkpoint, path)
        about = (checkpoint.about.name, checkpoint.digest, checkpoint.receipt)
        return Finished("model", *about, checkpoint.notices, checkpoint=checkpoint)
    made: Adapter | Embedding = read_adapter(path) if found.kind == "adapter" else read_embedding(path)
    kind: Kind = "adapter" if isinstance(made, Adapter) else "embedding"
    return Finished(kind, found.name, found.digest, found.receipt, _beside(path, found.receipt), made=made)


def _beside(path: Path, receipt: Receipt | None) -> dict[str, str]:
    """Return the ATTRIBUTION that a training leaves beside an adapter, where it is about what that learned from."""
    place = (path if path.is_dir() else path.parent) / CREDIT
    text = place.read_text(encoding="utf-8", errors="replace") if place.is_file() else ""
    return {CREDIT: text} if receipt and credit.roots(text) == {use.selection for use in receipt.corpora} else {}


def _rows_beside(path: Path, receipt: Receipt | None) -> tuple[Row, ...]:
    """Return the rows that lie beside an adapter, where they come to a root that its receipt names."""
    selections = {use.selection for use in receipt.corpora} if receipt else set()
    return next((found for found in rows.beside(path) if root_of(found) in selections), ())


def gather(path: Path, choices: Choices) -> Subject:
    """Return the model, adapter or embedding at `path`, judged.

    Raises:
        NotFound, WeightsError: there is nothing that can be released, or it is damaged.
        ReceiptMismatch: it is not what its receipt says.
        InvalidInput: its licences forbid the release, or ask what nobody answered; its figures are of another model.
    """
    finished = opened(path)
    corpus = _corpus(finished.receipt, choices.corpus or path / receipts.CORPUS)
    learned = tuple(row for row in corpus.rows if row.split == "train") if corpus else ()
    learned = learned or (_rows_beside(path, finished.receipt) if finished.made else ())
    parts = tuple(_parts(finished, path, corpus, learned, choices.stated))
    known = {name for part in parts for name in (part.name, part.name.partition(": ")[0])}
    if unused := sorted(choices.stated.keys() - known):
        raise InvalidInput(f"--part names {', '.join(unused)}; it was made from {', '.join(p.name for p in parts)}.")
    licence = choices.licence or (finished.receipt and finished.receipt.licence)
    if not licence:
        raise InvalidInput("Under which licence is it to be released? Its receipt does not say: give --licence.")
    judgement = judge(parts, licence)
    _refuse(judgement, licence, choices.answer)
    results = tuple(_result(place, finished.identity) for place in choices.results)
    return Subject(path, finished, learned, corpus, parts, licence, judgement, choices, results)


def _refuse(judgement: Judgement, licence: str, answer: str | None) -> None:
    listing = "".join(f"\n  {reason}" for reason in judgement.reasons)
    if judgement.verdict == "no":
        raise InvalidInput(f"It must not be released under {licence}:{listing}")
    if judgement.verdict == "ask" and not answer:
        raise InvalidInput(
            f"Whether it may be released under {licence} is not known:{listing}\n"
            'State the licence of a part with --part NAME=LICENCE, or say what you found out with --answer "...", '
            "which will stand in the release."
        )


def _corpus(receipt: Receipt | None, folder: Path) -> Corpus | None:
    if not (folder / MANIFEST).is_file():
        return None
    corpus = Corpus.open(folder)
    learned = {use.root for use in receipt.corpora} if receipt else set()
    if corpus.root not in learned:
        raise InvalidInput(f"The corpus in {folder} has root {corpus.root}, which the model did not learn from.")
    if problems := corpus.verify():
        raise InvalidInput(f"The corpus in {folder} is not what it promises: {problems[0]}.")
    return corpus


def _parts(
    finished: Finished, path: Path, corpus: Corpus | None, learned: tuple[Row, ...], stated: Mapping[str, str]
) -> Iterator[Part]:
    receipt = finished.receipt
    if receipt is None:
        yield Part(finished.name, "base", stated.get(finished.name, "unknown"))
        return
    own = {receipt.components[name]: part for name, part in receipts.parts(receipt, path) if part}
    own |= {stage.identity: stage for _, stage in receipts.earlier(path) if stage and stage.identity}
    yield from _parents(receipt, own, stated)
    seen = {corpus.root} if corpus else _learned(receipt, learned)
    name = corpus.manifest.name if corpus else "what it was taught"
    label = f"{name}: {{count:,}} works"
    for one, count in licences(learned):
        part = label.format(count=count)
        yield Part(part, "corpus", stated.get(part, stated.get(name, one) if one.lower() == "unknown" else one))
    for root in sorted({use.root for one in (receipt, *own.values()) for use in one.corpora} - seen):
        yield from _unseen(root, receipt, finished.notices.get(CREDIT, ""), stated)


def _learned(receipt: Receipt, learned: tuple[Row, ...]) -> set[str]:
    """Return the roots of the corpora of which the rows `learned` are all that was learned from."""
    selection = root_of(learned) if learned else None
    return {use.root for use in receipt.corpora if use.selection == selection}


def _parents(receipt: Receipt, own: Mapping[str, Receipt], stated: Mapping[str, str]) -> Iterator[Part]:
    """Yield what it was made from; a part that its maker made has its corpora among those that are looked at."""
    known = Known() if any(parent.identity not in own for parent in receipt.parents) else None
    for parent in receipt.parents:
        mine = own.get(parent.identity)
        if mine and not mine.parents and mine.corpora and not mine.licence:
            continue
        found = known.find(parent.identity, parent.name) if known and not mine else None
        told = mine or (found.receipt if found else None)
        licence = stated.get(parent.name) or (told.licence if told else None) or of_stage(receipt, parent) or "unknown"
        yield Part(parent.name, "adapter" if parent.role == "adapter" else "base", licence)


def of_stage(receipt: Receipt, parent: Parent) -> str | None:
    """Return the licence of an earlier stage of the same work, as the plan that made it states it in `receipt`.

    A training that goes on from a start takes over the plans of its receipt, with its parents and corpora, which are
    judged for themselves. So there is a plan for every stage that has a receipt, and one for the last; where there is
    one too few, some start came from elsewhere and says nothing of its own, and of none is anything told. Neither where
    the stages were under different licences, since a plan does not say which digest came of it.
    """
    if parent.role != "start" or parent.name != receipt.name:
        return None
    plans = [use.plan for use in receipt.plans.values() if use.plan.get("kind") != "autoencoder"]
    stages = [plan for plan in plans if plan.get("name") == receipt.name]
    starts = sum((one.role, one.name) == ("start", receipt.name) for one in receipt.parents)
    licences = {str(plan.get("licence") or "") for plan in stages}
    return licences.pop() or None if len(stages) == starts + 1 and len(licences) == 1 else None


def _unseen(root: str, receipt: Receipt, text: str, stated: Mapping[str, str]) -> Iterator[Part]:
    """Yield the licences of works that are not here, as the ATTRIBUTION has them."""
    name = f"corpus {root[7:19]}"
    selections = {use.selection for use in receipt.corpora}
    found = credit.licences(text)
    if name in stated or not found or credit.roots(text) != selections:
        yield Part(name, "corpus", stated.get(name, "unknown"))
    else:
        yield from (Part(f"{name} (as ATTRIBUTION says)", "corpus", licence) for licence in found)


def licences(learned: Iterable[Row]) -> list[tuple[str, int]]:
    """Return (licence, number of works), most works first."""
    found = Counter(map(_licence, learned))
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def _licence(row: Row) -> str:
    said = row.licence.spdx
    return FREE_BY_RIGHT.get(row.consent.basis, said) if said.lower() in ("", "unknown") else said


def _result(path: Path, identity: str) -> Result:
    content = read_json(path)
    if content.get("model_digest") != identity:
        raise InvalidInput(f"{path} is about the model {content.get('model_digest')}, not {identity}.")
    if content.get("quick"):
        raise InvalidInput(f"{path} is of a quick run, which is not for publication. Measure the whole.")
    return Result(path.name, content)


def essence(receipt: Receipt | None) -> str | None:
    """Return the digest of the whole receipt."""
    return digest(receipt.plain()) if receipt else None
