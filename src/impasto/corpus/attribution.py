"""Who made what a model learned from: one line a maker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from impasto.corpus.record import Licence, Maker, Row


class Credit(NamedTuple):
    """What one maker gave under one licence.

    Attributes:
        maker: who.
        licence: under which terms.
        collections: collection -> number of works, most first.
    """

    maker: Maker
    licence: Licence
    collections: dict[str, int]

    @property
    def works(self) -> int:
        """Number of works."""
        return sum(self.collections.values())

    def line(self) -> str:
        """Return the credit as one line of text."""
        maker = f"{self.maker.name} ({self.maker.uri})" if self.maker.uri else self.maker.name
        licence = f"{self.licence.spdx} ({self.licence.url})" if self.licence.url else self.licence.spdx
        line = f"{maker}: {self.works} works from {', '.join(self.collections)}; licence {licence}"
        return " ".join(line.splitlines())  # a name out of a table must not write a line of its own


def by_maker(rows: Iterable[Row]) -> list[Credit]:
    """Return what each maker gave, most works first; a maker with several pages or licences has several."""
    counts: dict[tuple[Maker, str, str | None], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        counts[row.maker, row.licence.spdx, row.licence.url][row.source.collection] += 1
    found = [
        Credit(maker, Licence(spdx=spdx, url=url), dict(sorted(by.items(), key=lambda item: (-item[1], item[0]))))
        for (maker, spdx, url), by in counts.items()
    ]
    return sorted(found, key=lambda credit: (-credit.works, credit.maker.name, credit.licence.spdx))


def attribution(name: str, root: str, rows: Iterable[Row]) -> str:
    """Return the text of an ATTRIBUTION file: a line a maker under two lines that name the corpus.

    Args:
        name: of the corpus.
        root: its Merkle root.
        rows: the rows to give credit for, such as those that were trained on.
    """
    found = by_maker(rows)
    works, makers = sum(credit.works for credit in found), len({credit.maker.name for credit in found})
    head = f"The works in the corpus {name}: {works} by {makers} makers."
    return "\n".join([head, f"Merkle root {root}", "", *(credit.line() for credit in found)]) + "\n"
