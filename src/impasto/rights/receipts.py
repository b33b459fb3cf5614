"""Whether a model is what its receipt says: its tensors, what it was made from, the corpus it learned from.

Reading every tensor of a model takes seconds, once: what was found is remembered for as long as the files stay as they
are (`weights.facts`), and a recipe needs the digest of its model anyhow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from impasto.adapters.embeddings import Embedding
from impasto.adapters.lora import Adapter
from impasto.adapters.metadata import receipt_of
from impasto.corpus.attribution import attribution
from impasto.errors import ImpastoError, InvalidInput, ReceiptMismatch
from impasto.receipt import Receipt
from impasto.recipe import Recipe
from impasto.schema import read_json
from impasto.weights.checkpoint import Checkpoint
from impasto.weights.layouts import diffusers
from impasto.weights.load import LoadedModel

if TYPE_CHECKING:
    from impasto.corpus.store import Corpus
    from impasto.pipeline.model import Model

CORPUS = "corpus"
"""Folder in a model's own for the manifest of what it learned from."""


EARLIER = "earlier"
"""Folder in a model's own for the receipts of its earlier stages, which are kept nowhere else: one a file, JSON."""


@dataclass(frozen=True)
class Mismatch:
    """Something that is not as the receipt says.

    Attributes:
        about: `weights`, `configuration`, `parent` or `corpus`.
        text: a sentence for people.
    """

    about: str
    text: str


def check(checkpoint: Checkpoint, path: Path) -> None:
    """Compare the model at `path`, opened as `checkpoint`, with its receipt; nothing to do where it has none.

    Raises:
        ReceiptMismatch: something differs; says what.
    """
    found = list(mismatches(checkpoint, path))
    if found:
        listing = "".join(f"\n  {mismatch.text}" for mismatch in found)
        raise ReceiptMismatch(
            f"{path} is not what its receipt says; nothing was loaded.{listing}\n"
            "Get it again from where you had it. If it was changed on purpose: --unverified, or load(verify=False)."
        )


def check_part(part: Adapter | Embedding) -> None:
    """Compare an adapter or embedding with the receipt in its file; nothing to do where it has none.

    Raises:
        ReceiptMismatch: it is of something else, or is none.
    """
    try:
        receipt_of(part)
    except InvalidInput as error:
        raise ReceiptMismatch(
            f"{error} Get it again from where you had it. If it was changed on purpose: --unverified, or "
            "load(verify=False)."
        ) from error


def of(model: Model, recipe: Recipe) -> list[Receipt]:
    """Return the receipts of all that `model` makes the picture of `recipe` with, each once.

    Those are its own, that of the model of the second pass, and those of adapters and embeddings; of a model with
    another autoencoder, that of what was put together and that of the model as it was. A receipt that is not of what
    was used (somebody insisted on using it) is left out.
    """
    hires = recipe.hires
    models = [model, model.second] if hires and hires.model else [model]
    adapters = [*recipe.adapters, *((hires and hires.adapters) or ())]
    parts: list[Adapter | Embedding] = [model.library.adapter(use.name) for use in adapters]
    parts += [model.library.embedding(use.name) for use in recipe.embeddings]
    found = [*(receipt for one in models if one for receipt in _own_receipts(one)), *map(_receipt, parts)]
    return list({receipt.digest: receipt for receipt in found if receipt}.values())


def _own_receipts(model: Model) -> Iterator[Receipt]:
    if not isinstance(model.networks, LoadedModel):
        return
    checkpoint = model.networks.checkpoint
    for one in (checkpoint, checkpoint.substitute and checkpoint.substitute.model):
        if one and one.receipt and one.receipt.identity in (None, one.digest):
            yield one.receipt


def _receipt(part: Adapter | Embedding) -> Receipt | None:
    try:
        return receipt_of(part)
    except InvalidInput:  # somebody insisted on using it
        return None


def mismatches(checkpoint: Checkpoint, path: Path) -> Iterator[Mismatch]:
    """Yield everything in the model at `path`, opened as `checkpoint`, that is not as its receipt says.

    Of the manifest of its corpus, the root is looked at; `Corpus.verify` looks at every row.
    """
    receipt = checkpoint.receipt
    if receipt is None:
        return
    yield from _of_weights(receipt, checkpoint)
    yield from _of_parents(receipt, path)
    yield from _of_corpus(receipt, path)


def _of_weights(receipt: Receipt, checkpoint: Checkpoint) -> Iterator[Mismatch]:
    there = checkpoint.component_digests
    changed = sorted(name for name, digest in receipt.components.items() if there.get(name) != digest)
    for name in changed:
        yield Mismatch("weights", f"The weights of the {name} are {there.get(name)}, not {receipt.components[name]}.")
    if receipt.identity and receipt.identity != checkpoint.digest and not changed:
        what = "configuration or tokenizer" if receipt.components else "weights or configuration"
        yield Mismatch(
            "configuration", f"Its {what} differs: the whole is {checkpoint.digest}, not {receipt.identity}."
        )


def _of_parents(receipt: Receipt, path: Path) -> Iterator[Mismatch]:
    """Look at the receipts that parts brought with them: they have to be those of the parents."""
    for parent, own in parts(receipt, path):
        if own is None:
            yield Mismatch("parent", f"The receipt of its {parent} cannot be read.")
        elif not {own.identity, *own.components.values()} & {known.identity for known in receipt.parents}:
            yield Mismatch("parent", f"The receipt in its {parent} is of {own.name}, which it was not made from.")
    for name, stage in earlier(path):
        if stage is None:
            yield Mismatch("parent", f"The receipt {EARLIER}/{name} cannot be read.")
        elif stage.identity not in {known.identity for known in receipt.parents}:
            yield Mismatch("parent", f"The receipt {EARLIER}/{name} is of {stage.name}, which it was not made from.")


def parts(receipt: Receipt, path: Path) -> Iterator[tuple[str, Receipt | None]]:
    """Yield (component, the receipt that lies with it, None for one that is none) of a model in a folder."""
    for component in sorted(receipt.components):
        place = path / component / diffusers.RECEIPT
        if place.is_file():
            yield component, _read(place)


def earlier(path: Path) -> Iterator[tuple[str, Receipt | None]]:
    """Yield (file name, receipt, None for one that is none) of the earlier stages of the model in the folder `path`."""
    for place in sorted((path / EARLIER).glob("*.json")):
        yield place.name, _read(place)


def _read(place: Path) -> Receipt | None:
    try:
        return Receipt.parse(read_json(place), str(place))
    except ImpastoError:
        return None


def _of_corpus(receipt: Receipt, path: Path) -> Iterator[Mismatch]:
    if not (path / CORPUS).is_dir():
        return
    from impasto.corpus.store import MANIFEST  # and with it pyarrow, which a model without a corpus does not need

    try:
        root = read_json(path / CORPUS / MANIFEST).get("root")
    except ImpastoError as error:
        yield Mismatch("corpus", f"The manifest of its corpus is damaged: {error}")
        return
    if root not in {use.root for use in receipt.corpora}:
        yield Mismatch("corpus", f"The corpus in {path / CORPUS} has root {root}, which it did not learn from.")


def credited(text: str, corpus: Corpus) -> bool:
    """Return whether one section of the ATTRIBUTION `text` credits just the makers of the training rows of `corpus`."""
    train = corpus.subset(lambda row: row.split == "train")
    return attribution(corpus.manifest.name, train.root, train.rows).strip() in text
