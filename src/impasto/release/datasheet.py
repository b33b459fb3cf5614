"""What a model learned from, for people: a datasheet, and the summary that the European Union asks for.

Sources: Gebru et al., Datasheets for Datasets (arXiv 1803.09010); Regulation (EU) 2024/1689, Art. 53(1)(d), with the
Commission's template (C(2025) 8311), whose sections the summary follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from impasto.corpus.attribution import by_maker
from impasto.corpus.record import Row
from impasto.release.card import one_line, shares
from impasto.release.subject import Subject

BASES = {
    "owner": "made by whoever trained the model",
    "grant": "granted by their makers",
    "licence": "under an open licence",
    "public-domain": "in the public domain",
    "unreserved": "found without a reservation, which is no consent",
    "synthetic": "made by a model",
    "unknown": "by a right that is not known",
}
UNDECLARED = "Undeclared: the rows are not in this release."


def datasheet(subject: Subject) -> str:
    """Return the text of DATASHEET.md."""
    return "\n".join(["# What it learned from\n", *_datasheet(subject)]) + "\n"


def _datasheet(subject: Subject) -> Iterator[str]:
    uses = subject.receipt.corpora if subject.receipt else ()
    selected = {use.selection: use for use in uses}.values()
    yield from (f"- {use.rows:,} rows of the corpus with Merkle root `{use.root}`" for use in selected)
    rows, manifest = subject.rows, subject.corpus.manifest if subject.corpus else None
    if not rows:
        yield f"\n{UNDECLARED}"
        return
    yield "\n## Composition\n"
    named = f" of {one_line(manifest.name)}; {manifest.refused:,} works were left out" if manifest else ""
    yield f"{len(rows):,} training rows{named}."
    yield from _table("Licence", shares(subject), len(rows))
    yield from _table("By what right", [(BASES[basis], n) for basis, n in bases(rows)], len(rows))
    yield from _table("Collection", _most(row.source.collection for row in rows), len(rows))
    yield from _table("Captions from", _most(row.caption.source for row in rows), len(rows))
    makers = by_maker(rows)
    yield f"\n## Makers\n\n{len({credit.maker.name for credit in makers}):,} makers, each in ATTRIBUTION.\n"
    yield "## Reservations that were looked for\n"
    yield from _signals(rows)
    yield "\n## Leaving out and taking out\n"
    if manifest:
        yield f"What admitted a row is policy.toml (`{manifest.policy}`); why others were left out is in the corpus."
    else:
        yield "The rows are in rows.jsonl; what its maker stated of them stands in each."
    yield f"Write to: {one_line(subject.choices.contact or 'nobody is named')}."


def _table(head: str, counts: list[tuple[str, int]], total: int) -> Iterator[str]:
    yield f"\n| {head} | rows | share |\n|---|---|---|"
    yield from (f"| {one_line(name)} | {count:,} | {count / total:.1%} |" for name, count in counts)


def _most(values: Iterable[str]) -> list[tuple[str, int]]:
    return sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))


def bases(rows: Iterable[Row]) -> list[tuple[str, int]]:
    """Return (consent basis, rows), most rows first."""
    return _most(row.consent.basis for row in rows)


def _signals(rows: Iterable[Row]) -> Iterator[str]:
    found = _most(f"{signal.kind}: {signal.verdict}" for row in rows for signal in row.signals)
    yield from (f"- {one_line(name)}, {count:,} times" for name, count in found)
    if not found:
        yield "- None: no row comes from a web page."


def training_summary(subject: Subject) -> str:
    """Return the text of TRAINING_SUMMARY.md: the public summary of training content of Art. 53(1)(d)."""
    return "\n".join(
        ["# Public summary of training content (Art. 53(1)(d), Regulation (EU) 2024/1689)\n", *_eu(subject)]
    )


def _eu(subject: Subject) -> Iterator[str]:
    rows, choices = subject.rows, subject.choices
    yield "## 1. General information\n"
    yield f"- Provider: {one_line(choices.author)}; contact: {one_line(choices.contact or 'not given')}"
    yield f"- Model: {one_line(subject.name)}, `{subject.finished.identity}`, placed on the market {choices.day}"
    yield f"- Made from other models: {one_line(', '.join(subject.base) or 'no')}"
    yield f"- Modalities: images and text (captions); {size_band(len(rows)) if rows else UNDECLARED}"
    latest = max((row.source.retrieved_at for row in rows if row.source.retrieved_at), default=None)
    yield f"- Latest data: {one_line(latest) if latest else 'as the pinned versions of the collections have it'}\n"
    yield "## 2. List of data sources\n"
    if not rows:
        yield f"{UNDECLARED}\n"
    else:
        yield from _sources(rows)
    yield "\n## 3. Data processing\n"
    yield "- Reservations of rights (Art. 4(3), Directive (EU) 2019/790):"
    yield from (_signals(rows) if rows else [f"  {UNDECLARED}"])
    yield "- Removal of illegal content: what policy.toml refuses; see DATASHEET.md\n"


KINDS = {
    "2.1 Publicly available collections": ("licence", "public-domain"),
    "2.2 Private collections, licensed by their makers": ("grant", "owner"),
    "2.3 Crawled and scraped": ("unreserved",),
    "2.4 Data of users": (),
    "2.5 Synthetic": ("synthetic",),
    "2.6 Other": ("unknown",),
}


def _sources(rows: tuple[Row, ...]) -> Iterator[str]:
    for head, rights in KINDS.items():
        picked = [row for row in rows if row.consent.basis in rights]
        yield f"- {head}: {len(picked):,} images" if picked else f"- {head}: none"
        yield from (
            f"  - {one_line(collection)} {one_line(version)}: {count:,}"
            for (collection, version), count in Counter((r.source.collection, r.source.version) for r in picked).items()
        )


def size_band(images: int) -> str:
    """Return the band of the template that a number of images lies in."""
    bands = [(1_000_000, "less than 1 million images"), (1_000_000_000, "1 million to 1 billion images")]
    return next((words for most, words in bands if images < most), "more than 1 billion images")
