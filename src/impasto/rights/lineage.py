"""What an artefact was made from, and what that was made from, as far back as is known: a graph.

A picture names its model and adapters by digest, those name their parents and corpora in their receipts, and a corpus
names makers and licences. What is not here is in the graph by its digest alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from impasto.corpus.record import Row
from impasto.corpus.store import MANIFEST, Corpus
from impasto.errors import CredentialError, ImpastoError, InvalidInput
from impasto.pictures import metadata
from impasto.receipt import CorpusUse, Receipt
from impasto.recipe import Recipe
from impasto.rights import artefacts, credentials, credit, receipts
from impasto.rights.artefacts import Artefact
from impasto.weights.detect import kind_at
from impasto.weights.facts import Facts, remembered
from impasto.weights.folders import items

KINDS = ("model", "adapter", "embedding")


@dataclass(frozen=True)
class Node:
    """Something that was made, or given.

    Attributes:
        key: what tells it from all others: its digest, where it has one.
        kind: `picture`, `model`, `adapter`, `embedding`, `part`, `corpus`, or `parent` where no more is known.
        name: what people call it.
        facts: about it, a line each.
        here: whether it was found here, and not only heard of.
    """

    key: str
    kind: str
    name: str
    facts: tuple[str, ...] = ()
    here: bool = False


@dataclass(frozen=True)
class Edge:
    """`made` was made from `source`, which gave what `role` says."""

    made: str
    role: str
    source: str


@dataclass
class Lineage:
    """A graph of what was made from what.

    Attributes:
        root: key of what it is the lineage of.
        nodes: by key.
        edges: without repetition, in the order in which they were found.
    """

    root: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def add(self, node: Node, made: str | None = None, role: str = "") -> bool:
        """Add `node`, from which `made` was made; return whether it was not known before.

        What is here takes the place of what was only heard of.
        """
        known = self.nodes.get(node.key)
        if known is None or (node.here and not known.here):
            self.nodes[node.key] = node
        edge = Edge(made, role, node.key) if made else None
        if edge and edge not in self.edges:
            self.edges.append(edge)
        return known is None or self.nodes[node.key] is node

    def sources(self, key: str) -> list[Edge]:
        """Return what the node `key` was made from."""
        return [edge for edge in self.edges if edge.made == key]


def of(path: Path, known: Known) -> Lineage:
    """Return the lineage of the picture, model, adapter or embedding at `path`.

    Args:
        path: of a file or folder.
        known: where to look for what it was made from.

    Raises:
        NotFound: there is nothing.
        InvalidInput, WeightsError: it is nothing that has a lineage.
    """
    if artefacts.holds_weights(path):
        return lineage_of(artefacts.read(path), known)
    lineage = Lineage(str(path))
    _picture(lineage, path, known)
    return lineage


def lineage_of(artefact: Artefact, known: Known) -> Lineage:
    """Return the lineage of an `artefact` that was read already."""
    lineage = Lineage(artefact.digest)
    _artefact(lineage, artefact, known)
    return lineage


def _picture(lineage: Lineage, path: Path, known: Known) -> None:
    said = metadata.read(path)
    recipe = said.recipe
    facts = (f"seed {recipe.seed}, {recipe.width}x{recipe.height}", recipe.prompt) if recipe else ()
    lineage.add(Node(lineage.root, "picture", path.name, facts, here=True))
    if recipe:
        _recipe(lineage, recipe, known)
        if not lineage.nodes[recipe.model_digest].here:
            _signed(lineage, path, known)
        return
    with suppress(CredentialError):
        found = credentials.read(path)
        if found and found.generation and found.generation.model:
            _named(lineage, lineage.root, "made by", "model", found.generation.model, "a model", known)
            return
    if said.infotext and (name := said.infotext.parameters.get("Model")):
        short = said.infotext.parameters.get("Model hash", "without a hash")
        lineage.add(Node(f"{name} {short}", "parent", name, (short,)), lineage.root, "made by")


def _signed(lineage: Lineage, path: Path, known: Known) -> None:
    """Add what a picture's credentials say of a model that is not here to ask: its parts, and what was learned from."""
    with suppress(CredentialError):
        found = credentials.read(path)
        if found is None or (said := found.generation) is None:
            return
        for part in said.parts if said.model else ():
            kind = "model" if part.role == "model" else "part"
            _named(lineage, str(said.model), part.role, kind, part.identity, part.name, known)
        for root in said.corpora:
            if root not in lineage.nodes:
                facts = ("as the credentials say; its rows are not here",)
                lineage.add(Node(root, "corpus", "a corpus", facts), lineage.root, "by what learned from")


def _recipe(lineage: Lineage, recipe: Recipe, known: Known) -> None:
    made = lineage.root
    _named(lineage, made, "made by", "model", recipe.model_digest, recipe.model_name, known)
    hires = recipe.hires
    if hires and hires.model:
        _named(lineage, made, "second pass by", "model", hires.model.identity, hires.model.name, known)
    for use in [*recipe.adapters, *((hires and hires.adapters) or ())]:
        _named(lineage, made, f"with weight {use.weight:g}", "adapter", use.identity, use.name, known)
    for word in recipe.embeddings or ():
        _named(lineage, made, "with the word", "embedding", word.identity, word.name, known)
    if recipe.start:
        lineage.add(Node(recipe.start.image, "picture", "a picture"), made, "began with")


def _named(lineage: Lineage, made: str, role: str, kind: str, digest: str, name: str, known: Known) -> None:
    """Add what has `digest`, found or only heard of, and what that was made from."""
    found = known.find(digest, name)
    if found is None:
        lineage.add(Node(digest, kind, name), made, role)
        return
    _artefact(lineage, found, known, made, role)


def _artefact(lineage: Lineage, found: Artefact, known: Known, made: str | None = None, role: str = "") -> bool:
    licence = found.receipt.licence if found.receipt else None
    facts = [f"licence {licence}" if licence else "licence not said"]
    if found.receipt is None:
        facts.append("without a receipt: what it was made from is not known")
    if not lineage.add(Node(found.digest, found.kind, found.name, tuple(facts), here=True), made, role):
        return False
    if found.receipt:
        _receipt(lineage, found.digest, found.receipt, found, known)
    return True


def _receipt(lineage: Lineage, made: str, receipt: Receipt, found: Artefact, known: Known) -> None:
    parents = {parent.identity for parent in receipt.parents}
    own = dict(_receipts_of_parts(receipt, found.path))
    for name, digest in sorted(receipt.components.items()):
        if digest not in parents and name != "unet":
            lineage.add(Node(digest, "part", name.replace("_", " "), here=True), made, "has")
    for parent in receipt.parents:
        if part := own.get(parent.identity):
            node = Node(parent.identity, "part", parent.name, here=True)
            if lineage.add(node, made, parent.role):
                _receipt(lineage, parent.identity, part.model_copy(update={"components": {}}), found, known)
        else:
            _named(lineage, made, parent.role, "parent", parent.identity, parent.name, known)
    of_parts = {use.selection for part in own.values() for use in part.corpora}
    uses = [use for use in receipt.corpora if use.selection not in of_parts] or receipt.corpora
    for use in _together(uses):
        lineage.add(known.corpus(use.root, found), made, f"learned from {use.rows:,} rows of")


def _together(uses: Iterable[CorpusUse]) -> Iterator[CorpusUse]:
    """Yield one use a corpus, of the most rows: the stages of a training see parts of the same."""
    most: dict[str, CorpusUse] = {}
    for use in uses:
        if use.root not in most or use.rows > most[use.root].rows:
            most[use.root] = use
    yield from most.values()


def _receipts_of_parts(receipt: Receipt, path: Path) -> Iterator[tuple[str, Receipt]]:
    for component, part in receipts.parts(receipt, path):
        if part:
            yield receipt.components[component], part
            if part.identity:
                yield part.identity, part
    for _, stage in receipts.earlier(path):
        if stage and stage.identity:
            yield stage.identity, stage


class Known:
    """What there is here: what comes with Impasto or is in the store, and what else one points to."""

    def __init__(self, corpora: Sequence[Path] = (), folders: Sequence[Path] = ()) -> None:
        """Look in the store; and in `folders` for artefacts, in `corpora` for what they learned from."""
        self._corpora = list(corpora)
        self._places = [*artefacts.everything(), *(path for folder in folders for path in _in(folder))]
        self._read: dict[Path, Artefact | None] = {}
        self._open: dict[Path, Corpus | None] = {}

    def __iter__(self) -> Iterator[Artefact]:
        """Yield every artefact that can be read."""
        for path in dict.fromkeys(self._places):
            if found := self._artefact(path):
                yield found

    def find(self, digest: str, name: str) -> Artefact | None:
        """Return what has `digest`; what goes by `name` is looked at first."""
        places = sorted(dict.fromkeys(self._places), key=lambda path: name not in (path.stem, path.name))
        found = (self._artefact(path) for path in places)
        return next((one for one in found if one and one.digest == digest), None)

    def _artefact(self, path: Path) -> Artefact | None:
        if path not in self._read:
            self._read[path] = None
            with suppress(ImpastoError):
                self._read[path] = artefacts.read(path)
        return self._read[path]

    def corpus(self, root: str, learned: Artefact) -> Node:
        """Return the node of the corpus with `root`, from its rows, or where they are not here from the credits."""
        if corpus := self.opened(root, learned):
            facts = tuple(_lines(credit.of_rows(_learned(corpus))))
            return Node(root, "corpus", corpus.manifest.name, facts, here=True)
        return Node(root, "corpus", "a corpus", tuple(_credited(learned.credit)))

    def opened(self, root: str, learned: Artefact | None = None) -> Corpus | None:
        """Return the corpus with `root`, where it is in the folder of what `learned` from it or was named."""
        own = [learned.path / receipts.CORPUS] if learned else []
        found = (self._opened(folder) for folder in (*own, *self._corpora))
        return next((corpus for corpus in found if corpus and corpus.root == root), None)

    def _opened(self, folder: Path) -> Corpus | None:
        if folder not in self._open:
            self._open[folder] = None
            if (folder / MANIFEST).is_file():
                with suppress(ImpastoError):
                    self._open[folder] = Corpus.open(folder)
        return self._open[folder]


def _learned(corpus: Corpus) -> list[Row]:
    return [row for row in corpus.rows if row.split == "train"]


def _in(folder: Path) -> Iterator[Path]:
    """Yield the models, adapters and embeddings below `folder`, those in the folder of a model too.

    Raises:
        NotFound: there is no such folder.
    """
    with remembered() as facts:
        yield from dict.fromkeys(_below(folder, facts))


def _below(folder: Path, facts: Facts) -> Iterator[Path]:
    for item in items(folder, facts):
        if item.kind in KINDS:
            yield item.path
        if item.kind == "model" and item.path.is_dir():
            inside = sorted(item.path.iterdir())
            yield from (path for part in inside if part.is_dir() for path in _below(part, facts))
            yield from (path for path in inside if path.is_file() and _kind(path) in KINDS)


def _kind(path: Path) -> str | None:
    """Return what the file at `path` is, of the store's kinds; None where it is no weights or cannot be read."""
    try:
        return kind_at(path)[0]
    except (ImpastoError, OSError):
        return None


def _lines(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from (f"{what}: {value}" for what, value in facts)


def _credited(text: str | None) -> Iterator[str]:
    facts = credit.of_text(text or "")
    yield from _lines(facts)
    yield "as ATTRIBUTION says; its rows are not here" if facts else "its rows are not here"


def affected(digest: str, known: Known) -> list[tuple[Artefact, list[Edge]]]:
    """Return everything here that was made from what has `digest` (a corpus, a model, a part), with the way to it.

    Raises:
        InvalidInput: that is no digest.
    """
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise InvalidInput(f"{digest!r} is no digest. Write sha256: and 64 hexadecimal digits.")
    found = []
    for artefact in known:
        lineage = lineage_of(artefact, known)
        if digest != artefact.digest and digest in lineage.nodes:
            found.append((artefact, way(lineage, digest)))
    return found


def way(lineage: Lineage, key: str) -> list[Edge]:
    """Return a shortest way from the root of `lineage` to `key`; empty when there is none."""
    ways: dict[str, list[Edge]] = {lineage.root: []}
    waiting = [lineage.root]
    while waiting:
        here = waiting.pop(0)
        for edge in lineage.sources(here):
            if edge.source not in ways:
                ways[edge.source] = [*ways[here], edge]
                waiting.append(edge.source)
    return ways.get(key, [])
