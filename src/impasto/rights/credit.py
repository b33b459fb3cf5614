"""Who is credited for what a model learned from: its ATTRIBUTION, or the rows themselves, in a few lines for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from impasto.corpus.attribution import by_maker
from impasto.corpus.record import Row

LINE = re.compile(r"^(.+?)(?: \(\S+\))?: (\d{1,15}) works from .*; licence (.+?)(?: \(\S+\))?$", re.MULTILINE)
"""A line of an ATTRIBUTION: maker, works, licence (`corpus.attribution.Credit`)."""

CREDITED = re.compile(r"^Merkle root (sha256:[0-9a-f]{64})$", re.MULTILINE)
"""How an ATTRIBUTION names the rows whose makers it lists."""

SHOWN = 3  # makers that are named; the others are counted


def roots(text: str) -> set[str]:
    """Return the Merkle roots of the rows whose makers the ATTRIBUTION `text` lists."""
    return set(CREDITED.findall(text))


def licences(text: str) -> list[str]:
    """Return the licences that the ATTRIBUTION `text` names, each once."""
    return list(dict.fromkeys(licence for _, _, licence in LINE.findall(text)))


def of_text(text: str) -> list[tuple[str, str]]:
    """Return (what, value) of an ATTRIBUTION: `works by`, `their licences`; nothing of another text."""
    most: Counter[tuple[str, str]] = Counter()
    for section in CREDITED.split(text)[2::2]:  # a work may be in several sections, as training had it
        counts: Counter[tuple[str, str]] = Counter()
        for maker, count, licence in LINE.findall(section):
            counts[maker, licence] += int(count)
        most |= counts
    works, terms = Counter[str](), Counter[str]()
    for (maker, licence), count in most.items():
        works[maker] += count
        terms[licence] += count
    return list(_told(works, terms)) if works else []


def of_rows(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Return (what, value) of `rows`: as `of_text`, and by what right they are used."""
    rows = list(rows)
    works: Counter[str] = Counter()
    for credit in by_maker(rows):
        works[credit.maker.name] += credit.works
    bases = Counter(row.consent.basis for row in rows)
    rights = ", ".join(f"{basis} {count:,}" for basis, count in bases.most_common())
    return [*_told(works, Counter(row.licence.spdx for row in rows)), ("by right of", rights)]


def _told(works: Mapping[str, int], terms: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    most = Counter(works).most_common()
    named = [f"{name} {count:,}" for name, count in most[:SHOWN]]
    others = [f"and {len(most) - SHOWN:,} others"] if len(most) > SHOWN else []
    yield "works by", ", ".join([*named, *others])
    yield "their licences", ", ".join(f"{name} {count:,}" for name, count in Counter(terms).most_common())
