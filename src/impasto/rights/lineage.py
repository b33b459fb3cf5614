"""What an artefact was made from, and what that was made from, as far back as is known: a graph.

A picture names its model and adapters by digest, those name their parents and corpora in their receipts, and a corpus
names makers and licences. What is not here is in the graph by its digest alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from impasto.corpus.attribution import by_maker
from impasto.corpus.record import Row
from impasto.corpus.store import MANIFEST, Corpus
from impasto.errors import CredentialError, ImpastoError, InvalidInput
from impasto.pictures import metadata
from impasto.receipt import CorpusUse, Receipt
from impasto.recipe import Recipe
from impasto.rights import artefacts, credentials, receipts
from impasto.rights.artefacts import Artefact

CREDIT_LINE = re.compile(r"^(.+?)(?: \(\S+\))?: (\d+) works from .*; licence (.+?)(?: \(\S+\))?$", re.MULTILINE)
"""A line of an ATTRIBUTION: maker, works, licence (`corpus.attribution.Credit`)."""

SHOWN = 3  # makers that are named; the others are counted


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
        found = artefacts.read(path)
        lineage = Lineage(found.digest)
        _artefact(lineage, found, known)
        return lineage
    lineage = Lineage(str(path))
    _picture(lineage, path, known)
    return lineage


def _picture(lineage: Lineage, path: Path, known: Known) -> None:
    said = metadata.read(path)
    recipe = said.recipe
    facts = (f"seed {recipe.seed}, {recipe.width}x{recipe.height}", recipe.prompt) if recipe else ()
    lineage.add(Node(lineage.root, "picture", path.name, facts, here=True))
    if recipe:
        _recipe(lineage, recipe, known)
        return
    with suppress(CredentialError):
        found = credentials.read(path)
        if found and found.generation and found.generation.model:
            _named(lineage, lineage.root, "made by", "model", found.generation.model, "a model", known)
            return
    if said.infotext and (name := said.infotext.parameters.get("Model")):
        short = said.infotext.parameters.get("Model hash", "without a hash")
        lineage.add(Node(f"{name} {short}", "parent", name, (short,)), lineage.root, "made by")


def _recipe(lineage: Lineage, recipe: Recipe, known: Known) -> None:
    made = lineage.root
    _named(lineage, made, "made by", "model", recipe.model_digest, recipe.model_name, known)
    for use in recipe.adapters:
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
            lineage.add(Node(parent.identity, "part", parent.name, here=True), made, parent.role)
            _receipt(lineage, parent.identity, part.model_copy(update={"components": {}}), found, known)
        else:
            _named(lineage, made, parent.role, "parent", parent.identity, parent.name, known)
    for use in _together(receipt.corpora):
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
        for folder in (learned.path / receipts.CORPUS, *self._corpora):
            corpus = self._opened(folder)
            if corpus and corpus.root == root:
                return Node(root, "corpus", corpus.manifest.name, tuple(_facts(corpus.rows)), here=True)
        return Node(root, "corpus", "a corpus", tuple(_credited(learned.credit)))

    def _opened(self, folder: Path) -> Corpus | None:
        if folder not in self._open:
            self._open[folder] = None
            if (folder / MANIFEST).is_file():
                with suppress(ImpastoError):
                    self._open[folder] = Corpus.open(folder)
        return self._open[folder]


def _in(folder: Path) -> Iterator[Path]:
    """Yield what may be an artefact in `folder`: models in folders of their own, and files of weights."""
    for index in sorted(folder.rglob("model_index.json")):
        yield index.parent
    for path in sorted(folder.rglob("*.safetensors")):
        if not any((parent / "model_index.json").is_file() for parent in path.parents[:2]):
            yield path


def _facts(rows: Iterable[Row]) -> Iterator[str]:
    rows = list(rows)
    works: Counter[str] = Counter()
    for credit in by_maker(rows):
        works[credit.maker.name] += credit.works
    yield from _makers(works, Counter(row.licence.spdx for row in rows))
    bases = Counter(row.consent.basis for row in rows)
    yield "by right of: " + ", ".join(f"{basis} {count:,}" for basis, count in bases.most_common())


def _credited(text: str | None) -> Iterator[str]:
    most: Counter[tuple[str, str]] = Counter()
    for maker, count, licence in CREDIT_LINE.findall(
        text or ""
    ):  # a work may be in several sections, as training had it
        most[maker, licence] = max(most[maker, licence], int(count))
    works, licences = Counter[str](), Counter[str]()
    for (maker, licence), count in most.items():
        works[maker] += count
        licences[licence] += count
    if works:
        yield from _makers(works, licences)
        yield "as ATTRIBUTION says; its rows are not here"
    else:
        yield "its rows are not here"


def _makers(works: Mapping[str, int], licences: Mapping[str, int]) -> Iterator[str]:
    most = Counter(works).most_common()
    named = [f"{name} {count:,}" for name, count in most[:SHOWN]]
    others = [f"{len(most) - SHOWN:,} others"] if len(most) > SHOWN else []
    yield f"{len(most):,} makers: " + ", ".join([*named, *others])
    yield "licences: " + ", ".join(f"{name} {count:,}" for name, count in Counter(licences).most_common())


def affected(digest: str, known: Known) -> list[tuple[Artefact, list[Edge]]]:
    """Return everything here that was made from what has `digest` (a corpus, a model, a part), with the way to it.

    Raises:
        InvalidInput: that is no digest.
    """
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise InvalidInput(f"{digest!r} is no digest. Write sha256: and 64 hexadecimal digits.")
    found = []
    for artefact in known:
        lineage = Lineage(artefact.digest)
        _artefact(lineage, artefact, known)
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
