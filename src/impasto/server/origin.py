"""Where a model comes from: its receipt, and the makers, licences and consent of the works that it learned from.

A corpus holds more than a model learned from: works that are held out to measure it, and those that its plan passes
over. The receipt names what was learned from by the Merkle root of those rows and embeds the plans that chose them, so
they are chosen again and believed where they come to the same root.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from impasto.corpus.attribution import by_maker
from impasto.corpus.record import Row
from impasto.corpus.store import MANIFEST, Corpus
from impasto.errors import ImpastoError, InvalidInput
from impasto.receipt import CorpusUse, Receipt
from impasto.rights import receipts
from impasto.rights.rows import of_use, taken
from impasto.schema import digest, file_digest
from impasto.weights.facts import remembered
from impasto.weights.home import home

FORMAT = "origin/2"
MEMORY = "origins.json"
POLICY, ROWS = "policy.toml", "rows.parquet"


def origin(receipt: Receipt | None, folder: Path) -> dict[str, Any]:
    """Return what the model in `folder` was made from: `receipt`, `parents`, `corpus`; see `docs/server.md`.

    Raises:
        InvalidInput: the manifest of its corpus is damaged.
    """
    return {
        "receipt": receipt and receipt.plain(),
        "corpus": _corpus(receipt, folder),
        "parents": [parent.plain() for parent in receipt.parents] if receipt else [],
    }


def _corpus(receipt: Receipt | None, folder: Path) -> dict[str, Any] | None:
    """Return what is told of the corpus, which takes seconds to find out and is remembered while its files stay."""
    place = folder / receipts.CORPUS
    if not (place / MANIFEST).is_file():
        return None
    own = _parts(receipt, folder)
    try:
        files = [file_digest(place / name) for name in (MANIFEST, POLICY)]
        about = digest([FORMAT, receipt and receipt.digest, own, *files])
        with remembered(home() / MEMORY) as facts:
            told = facts.know(place / ROWS, about, lambda: json.dumps(_told(receipt, Corpus.open(place), own)))
    except (ImpastoError, OSError) as error:
        raise InvalidInput("What this model learned from cannot be read: its manifest is damaged.") from error
    found: dict[str, Any] = json.loads(told)
    return found


def _parts(receipt: Receipt | None, folder: Path) -> dict[str, str]:
    """Return the parts that brought receipts of their own, by the selections that those learned from."""
    stories = receipts.parts(receipt, folder) if receipt else ()
    return {use.selection: part for part, story in stories if story for use in story.corpora}


def _told(receipt: Receipt | None, corpus: Corpus, own: Mapping[str, str]) -> dict[str, Any]:
    uses = [use for use in receipt.corpora if use.root == corpus.manifest.root] if receipt else []
    found = learned(corpus, receipt, uses) if receipt else {}
    known = bool(uses) and all(use.selection in found for use in uses)
    rows = list({row.key: row for rows in found.values() for row in rows}.values()) if known else corpus.rows
    return {
        "name": corpus.manifest.name,
        "root": corpus.manifest.root,
        "rows": len(rows),
        "learned": known,
        "uses": list(_uses(uses, found, own)),
        "kept": corpus.manifest.rows,
        "held_out": sum(row.split == "held-out" for row in corpus.rows),
        "refused": corpus.manifest.refused,
        "licences": _licences(rows),
        "makers": _makers(rows),
        "policy": corpus.policy.plain(),
    }


def learned(corpus: Corpus, receipt: Receipt, uses: Sequence[CorpusUse]) -> dict[str, Sequence[Row]]:
    """Return the rows of `corpus` that each of `uses` names, by its selection; without those that cannot be told."""
    parts = list(taken(corpus, receipt))
    found = {use.selection: of_use(parts, use) for use in uses}
    return {selection: rows for selection, rows in found.items() if rows is not None}


def _uses(
    uses: Sequence[CorpusUse], found: Mapping[str, Sequence[Row]], own: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield from how many works which `part` learned; None stands for all that are not named, which comes first."""
    of_one_part = {use.selection for use in uses} <= own.keys()
    groups: dict[str | None, list[CorpusUse]] = {}
    for use in uses:
        groups.setdefault(None if of_one_part else own.get(use.selection), []).append(use)
    for part, group in sorted(groups.items(), key=lambda item: item[0] or ""):
        works = {row.key for use in group for row in found.get(use.selection, ())}
        yield {"part": part, "rows": len(works) or max(use.rows for use in group)}


def _licences(rows: Iterable[Row]) -> list[dict[str, Any]]:
    counts = Counter(row.licence.spdx for row in rows)
    return [{"licence": licence, "rows": count} for licence, count in counts.most_common()]


def _makers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return who made `rows`, most works first."""
    makers: dict[tuple[str, str | None], dict[str, Any]] = {}
    consents: dict[tuple[str, str | None], Counter[str]] = {}
    for row in rows:
        consents.setdefault((row.maker.name, row.maker.uri), Counter())[row.consent.basis] += 1
    for credit in by_maker(rows):
        key = (credit.maker.name, credit.maker.uri)
        entry = makers.setdefault(key, {"name": key[0], "uri": key[1], "rows": 0, "licences": [], "collections": {}})
        entry["rows"] += credit.works
        if credit.licence.spdx not in entry["licences"]:
            entry["licences"].append(credit.licence.spdx)
        entry["collections"] = dict(Counter(entry["collections"]) + Counter(credit.collections))
        entry["consent"] = dict(consents[key])
    return sorted(makers.values(), key=lambda maker: (-maker["rows"], maker["name"]))
