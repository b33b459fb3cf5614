"""One name for the same thing in different collections.

Emoji sets name things each in their own way: `bear` and `bear-face`, `red-apple` and `redapple`. Names are joined when
two sets give them to one Unicode sequence, when a set gives both to one drawing, or when they differ in hyphens only;
but never when that would make one thing of two drawings of a set.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from impasto.errors import NotFound


@dataclass(frozen=True)
class Names:
    """The names in one collection.

    Attributes:
        own: names of its drawings.
        also: other name -> name of the drawing.
        unicode: Unicode sequence -> name of the drawing.
    """

    own: tuple[str, ...]
    also: Mapping[str, str] = field(default_factory=dict)
    unicode: Mapping[str, str] = field(default_factory=dict)


def join(collections: Iterable[Names]) -> dict[str, str]:
    """Return name -> concept for all names in `collections`, which come in order of preference for naming.

    A concept is the name that most collections use for the thing (of equals, the first seen).
    """
    sets = list(collections)
    groups = _Groups(sets)
    for pairs in (_by_unicode(sets), _by_alias(sets), _by_hyphens(sets)):
        for one, other in pairs:
            groups.unite(one, other)
    uses = Counter(name for names in sets for name in names.own)
    concepts = {}
    for members in groups.all():
        concept = max(members, key=lambda name: uses[name])
        concepts.update(dict.fromkeys(members, concept))
    return concepts


class _Groups:
    """Names that mean the same, as disjoint sets; no group holds two drawings of one collection."""

    def __init__(self, sets: Sequence[Names]) -> None:
        self._group: dict[str, list[str]] = {}
        self._drawn: dict[str, set[int]] = defaultdict(set)  # name -> collections in which it is a drawing's own
        for number, names in enumerate(sets):
            for name in names.own:
                self._group.setdefault(name, [name])
                self._drawn[name].add(number)

    def unite(self, one: str, other: str) -> None:
        first = self._group.setdefault(one, [one])
        second = self._group.setdefault(other, [other])
        if first is second or self._collections(first) & self._collections(second):
            return
        first.extend(second)
        self._group.update(dict.fromkeys(second, first))

    def all(self) -> Iterator[list[str]]:
        return iter({id(group): group for group in self._group.values()}.values())

    def _collections(self, group: Iterable[str]) -> set[int]:
        return set().union(*(self._drawn[name] for name in group))


def read_concepts(path: Path) -> tuple[str, ...]:
    """Return the concepts in a text file, one a line; `#` begins a comment.

    Raises:
        NotFound: there is no such file.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise NotFound(f"Cannot read the concepts in {path}: {error}") from error
    return tuple(dict.fromkeys(name for line in lines if (name := line.partition("#")[0].strip())))


def _by_unicode(sets: Iterable[Names]) -> Iterator[tuple[str, str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for names in sets:
        for sequence, name in names.unicode.items():
            found[sequence].append(name)
    for same in found.values():
        yield from ((same[0], other) for other in same[1:])


def _by_alias(sets: Iterable[Names]) -> Iterator[tuple[str, str]]:
    for names in sets:
        yield from ((name, other) for other, name in names.also.items())


def _by_hyphens(sets: Iterable[Names]) -> Iterator[tuple[str, str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(name for names in sets for name in (*names.own, *names.also)):
        found[name.replace("-", "")].append(name)
    for same in found.values():
        yield from ((same[0], other) for other in same[1:])
