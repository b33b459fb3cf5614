"""What here learned from rows that were revoked, as surely as it can be told.

A receipt names the Merkle root over the rows that were learned from, not the rows. Which those are is known where a
list of rows that comes to that root is here: the index of works that a model brings, the rows beside an adapter, or the
part of a corpus that the receipt's own plan selects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from impasto.corpus.record import Row
from impasto.corpus.revoked import Revoked
from impasto.corpus.store import RowFile
from impasto.errors import ImpastoError
from impasto.receipt import CorpusUse
from impasto.rights import receipts
from impasto.rights.artefacts import WORKS, Artefact
from impasto.rights.lineage import Edge, Known, lineage_of, way
from impasto.rights.rows import beside, of_use, taken


@dataclass(frozen=True, eq=False)
class Affected:
    """An artefact that learned from revoked rows, or may have.

    Attributes:
        artefact: it.
        way: to the corpus.
        marks: of the rows that it learned from; empty where which rows it learned from is not known here, so that it
            may have.
    """

    artefact: Artefact
    way: list[Edge]
    marks: tuple[Revoked, ...]

    @property
    def surely(self) -> bool:
        """Whether it is known to have learned from them."""
        return bool(self.marks)


@dataclass(frozen=True)
class _Use:
    """A use of a corpus, and who says so in its receipt."""

    use: CorpusUse
    by: Artefact


def affected(marks: Sequence[Revoked], known: Known) -> Iterator[Affected]:
    """Yield everything here that learned from rows with `marks`, itself or by what it was made from, or may have.

    What is known to have learned from other rows only is left out. Rows are known by their images, whatever corpus they
    are in: one that was built anew, or taken in by another.
    """
    uses = {artefact.digest: list(_uses(artefact, known, set())) for artefact in known}
    selected = _Selections([use for found in uses.values() for use in found], known)
    for artefact in known:
        found = [(one.use.root, _marked(one, marks, selected, known)) for one in uses[artefact.digest]]
        those = dict.fromkeys(mark for _, told in found for mark in told or ())
        sure, unsure = ([root for root, told in found if told], [root for root, told in found if told is None])
        for root in [*sure, *unsure][:1]:
            yield Affected(artefact, way(lineage_of(artefact, known), root), tuple(those))


def _uses(artefact: Artefact, known: Known, seen: set[str]) -> Iterator[_Use]:
    """Yield what `artefact`, its parts and its parents learned from."""
    if artefact.receipt is None or artefact.digest in seen:
        return
    seen.add(artefact.digest)
    behind = (*receipts.parts(artefact.receipt, artefact.path), *receipts.earlier(artefact.path))
    parts = [part for _, part in behind if part]
    for receipt in (artefact.receipt, *parts):
        yield from (_Use(use, artefact) for use in receipt.corpora)
        for parent in receipt.parents:
            if found := known.find(parent.identity, parent.name):
                yield from _uses(found, known, seen)


def _marked(one: _Use, marks: Sequence[Revoked], selected: _Selections, known: Known) -> list[Revoked] | None:
    """Return the marks of rows that a use of a corpus had; None where it cannot be told, and it may have had some."""
    corpus = known.opened(one.use.root, one.by)
    there = {row.id for row in corpus.rows} if corpus else set()
    may = any(mark.image in there if corpus else mark.root == one.use.root for mark in marks)
    if corpus and not may:  # nor in any part of it
        return []
    images = selected.images(one.use.selection)
    if images is not None:
        return [mark for mark in marks if mark.image in images]
    return None if may else []


class _Selections:
    """The images of rows by the Merkle root over those, as far as lists of them are here."""

    def __init__(self, uses: Iterable[_Use], known: Known) -> None:
        self._uses: dict[str, list[_Use]] = {}
        for one in uses:
            self._uses.setdefault(one.use.selection, []).append(one)
        self._known = known
        self._found: dict[str, frozenset[str] | None] = {}

    def images(self, selection: str) -> frozenset[str] | None:
        """Return the images of the rows with the root `selection`; None where they are not here."""
        if selection not in self._found:
            found = (of_use(self._lists(one), one.use) for one in self._uses[selection])
            rows = next((rows for rows in found if rows is not None), None)
            self._found[selection] = None if rows is None else frozenset(row.id for row in rows)
        return self._found[selection]

    def _lists(self, one: _Use) -> Iterator[Sequence[Row]]:
        """Yield lists of rows that may be those, the least work first."""
        yield from beside(one.by.path)
        if corpus := self._known.opened(one.use.root, one.by):
            yield from taken(corpus, one.by.receipt)
        works = one.by.path / WORKS / "rows.parquet"
        if works.is_file():
            with suppress(ImpastoError):
                yield list(RowFile(works))
