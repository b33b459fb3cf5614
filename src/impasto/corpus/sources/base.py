"""What every kind of source is: a frozen section of a plan that yields candidates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from impasto.corpus.candidates import Candidate
from impasto.schema import Frozen


@dataclass(frozen=True)
class Place:
    """Where a build runs.

    Attributes:
        folder: of the plan; paths in a plan are relative to it.
        archive: a package tarball that is there already, instead of fetching it.
    """

    folder: Path
    archive: Path | None = None


class Source(Frozen):
    """A section `[[sources]]` of a corpus plan.

    Attributes:
        kind: row of `SOURCES`.
    """

    kind: str

    @abstractmethod
    def candidates(self, place: Place) -> Iterator[Candidate]:
        """Yield every work of the source in order of priority, the same each time.

        Raises:
            SourceUnavailable: the source is not there, or is not what the plan pins.
        """

    @property
    def held_out_from(self) -> frozenset[str]:
        """Names of the collections from which pairs of (concept, collection) may be held out; none by default."""
        return frozenset()
