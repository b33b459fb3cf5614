"""Rows whose makers want them out: beside the corpus, so that its root still says what was learned from.

`revoked.jsonl` in the corpus's folder has a line per row, with the reason and the evidence. It outlives a new build
into the same folder. A row is known by its image: the same image under another name is revoked too.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from impasto.corpus import dedup, store
from impasto.corpus.record import Refused, Row, Work
from impasto.corpus.store import REVOKED, Corpus, upright
from impasto.errors import CorpusChanged, CorpusError, InvalidInput, NotFound
from impasto.files import write_text
from impasto.schema import Digest, Frozen, bytes_digest

BITS, DIFFERENCE = 16, 24.0  # more than `policy.NearDuplicates` has: what is asked back is found as a worse copy too


class Revoked(Frozen):
    """A row that must not be trained on any more.

    Attributes:
        row: its key.
        image: `sha256:<hex>` of its image.
        root: of the corpus it was in.
        asked: what was asked to be forgotten.
        value: whose, or which.
        reason: one sentence.
        evidence: where it was asked: a letter, a page, a case.
        at: when it was marked (RFC 3339).
    """

    row: str
    image: Digest
    root: Digest
    asked: Literal["maker", "url", "image", "row"]
    value: str
    reason: str
    evidence: str
    at: str


def read(folder: Path) -> list[Revoked]:
    """Return what is revoked of the corpus in `folder`.

    Raises:
        CorpusChanged: the file is damaged, so that it cannot be told.
    """
    path = folder / REVOKED
    if not path.is_file():
        return []
    try:
        return [
            Revoked.parse(json.loads(line), str(path)) for line in path.read_text("utf-8").splitlines() if line.strip()
        ]
    except (OSError, ValueError, InvalidInput) as error:
        raise CorpusChanged(f"Cannot read {path}, so what is revoked cannot be told: {error}") from error


def find(corpus: Corpus, asked: str, value: str) -> list[Row]:
    """Return the rows of `corpus` that are meant.

    Args:
        corpus: opened; with its images, where near copies of an image are looked for.
        asked: `maker` (name or page, whole), `url` (of image or page), `image` (path of a file), `row` (key or id).
        value: whose, or which.

    Raises:
        NotFound: no row fits.
    """
    if asked == "row":
        return [corpus.find(value)]
    tests: dict[str, Callable[[Row], bool]] = {
        "maker": lambda row: value.casefold() in (row.maker.name.casefold(), (row.maker.uri or "").casefold()),
        "url": lambda row: value in (row.source.file, row.source.page),
    }
    found = _like(corpus, Path(value)) if asked == "image" else [row for row in corpus.rows if tests[asked](row)]
    if not found:
        raise NotFound(f"No row of {corpus.folder} fits --{asked} {value!r}; see `impasto corpus stats`.")
    return found


def mark(corpus: Corpus, rows: Sequence[Row], asked: tuple[str, str], reason: str, evidence: str) -> list[Revoked]:
    """Mark `rows` of `corpus` as revoked, and return the marks; a row that is marked already keeps its mark."""
    at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    known = read(corpus.folder)
    kind, value = asked
    told = {"root": corpus.root, "asked": kind, "value": value, "reason": reason, "evidence": evidence, "at": at}
    have = {(mark.row, mark.image) for mark in known}
    new = [
        Revoked.parse({"row": row.key, "image": row.id, **told}, f"the mark of {row.key}")
        for row in rows
        if (row.key, row.id) not in have
    ]
    lines = [mark.canonical().decode() for mark in (*known, *new)]
    write_text(corpus.folder / REVOKED, "".join(f"{line}\n" for line in lines))
    return new


def first(corpus: Corpus, rows: Iterable[Row]) -> tuple[Row, Revoked] | None:
    """Return the first of `rows` that is revoked, by its image, with its mark."""
    marks = {mark.image: mark for mark in read(corpus.folder)}
    return next(((row, marks[row.id]) for row in rows if row.id in marks), None)


def _like(corpus: Corpus, path: Path) -> list[Row]:
    """Return the rows whose image is the file at `path`, or a near copy of it."""
    try:
        data = path.read_bytes()
        with Pillow.open(io.BytesIO(data)) as opened:
            wanted = dedup.fingerprint(upright(opened))
    except (OSError, UnidentifiedImageError) as error:
        raise NotFound(f"Cannot read the image {path}: {error}") from error
    found = [row for row in corpus.rows if row.id == bytes_digest(data)]
    if corpus.has_images:
        for row in corpus.rows:
            if row not in found and _apart(row.image.phash, wanted.phash) <= BITS:
                seen = dedup.fingerprint(corpus.image(row))
                if dedup.worst_tile(seen, wanted) <= DIFFERENCE:
                    found.append(row)
    return found


def _apart(one: str, other: str) -> int:
    return bin(int(one, 16) ^ int(other, 16)).count("1")


def without(corpus: Corpus, output: Path) -> int:
    """Write `corpus` without its revoked rows to `output`, and return how many those are.

    Raises:
        CorpusError: `output` holds something else, or nothing is left.
    """
    marks = {mark.image: mark for mark in read(corpus.folder)}
    left = corpus.subset(lambda row: row.id not in marks)
    gone = [row for row in corpus.rows if row.id in marks]
    if not left.rows:
        raise CorpusError(f"Every row of {corpus.folder} is revoked; there is nothing left to write.")
    reasons = ((row, f"Revoked on {marks[row.id].at}: {marks[row.id].reason}") for row in gone)
    refused = [*corpus.refused, *(_refused(row, reason) for row, reason in reasons)]
    update = {"refused": len(refused), "refused_root": store.refused_root(refused)}
    texts = {name: (corpus.folder / name).read_text("utf-8") for name in ("plan.toml", "policy.toml")}
    images = ((row.id, corpus.image_bytes(row)) for row in {row.id: row for row in left.rows}.values())
    store.write(output, left.manifest.model_copy(update=update), texts, left.rows, refused, images)
    return len(gone)


def _refused(row: Row, reason: str) -> Refused:
    work = Work.model_validate({name: getattr(row, name) for name in Work.model_fields})
    return Refused(work=work, rule="revoked", reason=reason)
