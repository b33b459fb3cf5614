"""A row: one image as it is trained on, with who made it and by what right it is used.

The groups follow the manifest of data-provenance practice (identity, source, maker, licence, consent, caption); in a
file they are flat columns, named by `COLUMNS`. A field that comes later is optional and None in older rows, and None is
left out of the canonical form, so that roots of older corpora stay what they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from impasto.schema import Frozen, canonical_json

Basis = Literal["owner", "grant", "licence", "public-domain", "unreserved", "synthetic", "unknown"]
Split = Literal["train", "held-out"]


class Image(Frozen):
    """Identity of the stored image.

    Attributes:
        id: `sha256:<hex>` of the stored bytes.
        phash: 64-bit perceptual hash of the image laid on white, 16 hex digits (see `dedup`).
        width: pixels.
        height: pixels.
        bytes: length of the stored file.
        media_type: such as `image/png`.
        ink: share of pixels that are not transparent, 0 to 1.
    """

    id: str
    phash: str
    width: int
    height: int
    bytes: int
    media_type: str
    ink: float


class Source(Frozen):
    """Where the image was taken from.

    Attributes:
        collection: short name of the set of works it belongs to (an icon set, a folder).
        version: package and version, or another pinned state of the collection.
        key: its name within the collection.
        file: the file it was read from, within the version.
        page: where a person can see the collection or the work.
        retrieved_at: time of retrieval (RFC 3339), only for sources that have no pinned version.
    """

    collection: str
    version: str
    key: str
    file: str
    page: str | None = None
    retrieved_at: str | None = None


class Maker(Frozen):
    """Who made it, as the source states."""

    name: str
    uri: str | None = None


class Licence(Frozen):
    """Licence as the source states it.

    Attributes:
        spdx: SPDX identifier or expression, or `unknown`.
        url: text of the licence.
        evidence: where the statement was read, such as `@iconify/json@2.2.535:json/noto.json#info.license`.
    """

    spdx: str
    url: str | None = None
    evidence: str = ""


class Consent(Frozen):
    """By what right the work is used. Silence is `unreserved`, never consent; what cannot be told is `unknown`."""

    basis: Basis
    evidence: str = ""


class Caption(Frozen):
    """Words for the image.

    Attributes:
        text: the caption.
        source: where the words come from: `icon name`, `human`, `alt-text`, `model:<digest>`.
        also: other names that the source gives the same drawing.
    """

    text: str
    source: str
    also: tuple[str, ...] = ()


class Signal(Frozen):
    """One machine-readable reservation that was looked for, absent ones included."""

    kind: str
    raw: str
    verdict: Literal["allow", "deny", "absent", "unknown"]
    seen_at: str


class Work(Frozen):
    """A work as a source offers it, before it has been drawn and judged.

    Attributes:
        concept: normalised name that drawings of the same thing share across collections, `red-apple`.
        category: the collection's own category, such as `Food & Drink`.
        signals: reservations looked for (empty for pinned packages and own folders).
    """

    source: Source
    maker: Maker
    licence: Licence
    consent: Consent
    caption: Caption
    concept: str | None = None
    category: str | None = None
    signals: tuple[Signal, ...] = ()

    @property
    def key(self) -> str:
        """`collection:key`, unique within a corpus."""
        return f"{self.source.collection}:{self.source.key}"

    @property
    def attribution(self) -> str:
        """One line naming title, maker, licence and source."""
        maker = f"{self.maker.name} ({self.maker.uri})" if self.maker.uri else self.maker.name
        licence = f"{self.licence.spdx} ({self.licence.url})" if self.licence.url else self.licence.spdx
        return f"“{self.caption.text}” by {maker}, {licence}, from {self.source.collection} in {self.source.version}"


class Row(Work):
    """A work with its image and its place in training.

    Attributes:
        split: `train`, or `held-out` (never trained on).
        repeat: times it is seen in an epoch.
    """

    image: Image
    split: Split = "train"
    repeat: int = 1

    @property
    def id(self) -> str:
        """`sha256:<hex>` of the stored image."""
        return self.image.id

    def leaf(self) -> bytes:
        """Canonical JSON (RFC 8785) without None: what the Merkle root is taken over."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))


#: column in a file -> place in the nested data
COLUMNS: dict[str, tuple[str, ...]] = {
    "id": ("image", "id"),
    "phash": ("image", "phash"),
    "width": ("image", "width"),
    "height": ("image", "height"),
    "bytes": ("image", "bytes"),
    "media_type": ("image", "media_type"),
    "ink": ("image", "ink"),
    "collection": ("source", "collection"),
    "version": ("source", "version"),
    "key": ("source", "key"),
    "file": ("source", "file"),
    "page": ("source", "page"),
    "retrieved_at": ("source", "retrieved_at"),
    "maker": ("maker", "name"),
    "maker_uri": ("maker", "uri"),
    "licence": ("licence", "spdx"),
    "licence_url": ("licence", "url"),
    "licence_evidence": ("licence", "evidence"),
    "consent": ("consent", "basis"),
    "consent_evidence": ("consent", "evidence"),
    "caption": ("caption", "text"),
    "caption_source": ("caption", "source"),
    "also": ("caption", "also"),
    "concept": ("concept",),
    "category": ("category",),
    "signals": ("signals",),
    "split": ("split",),
    "repeat": ("repeat",),
}

#: columns of a work that has no image yet
WORK_COLUMNS = {name: path for name, path in COLUMNS.items() if path[0] not in ("image", "split", "repeat")}


def flatten(work: Work, columns: Mapping[str, tuple[str, ...]] = COLUMNS) -> dict[str, Any]:
    """Return `work` as flat columns; what it does not have is None."""
    plain = work.plain()
    return {name: _at(plain, path) for name, path in columns.items()}


def unflatten(flat: Mapping[str, Any], columns: Mapping[str, tuple[str, ...]] = COLUMNS) -> dict[str, Any]:
    """Return the nested data that `flatten` took apart."""
    nested: dict[str, Any] = {}
    for name, path in columns.items():
        *groups, last = path
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = flat[name]
    return nested


def _at(plain: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = plain
    for part in path:
        value = value.get(part) if value is not None else None
    return value


class Refused(Frozen):
    """A work that was left out, and why.

    Attributes:
        work: as its source offered it.
        rule: short name of the rule, for counting.
        reason: one sentence for people.
    """

    work: Work
    rule: str
    reason: str

    def leaf(self) -> bytes:
        """Canonical JSON (RFC 8785) without None."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))
