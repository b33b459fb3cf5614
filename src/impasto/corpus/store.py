"""A corpus as a folder.

    corpus.json       name, Merkle roots, counts, digests of policy and plan, what built it
    plan.toml         what it was built by, as written
    policy.toml       what admitted its rows, as written
    rows.parquet      a row per image, with the hash of its Merkle leaf
    refused.parquet   every work left out, with the reason
    images/*.parquet  id, file bytes; may be absent: the manifest alone says what was learned from
    revoked.jsonl     rows that must not be trained on any more (`revoked`); stays when the corpus is replaced

A corpus is written beside its place and moved there whole.
"""

from __future__ import annotations

import io
import json
import secrets
import shutil
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Literal, overload

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pillow
from PIL import ImageOps
from pydantic import ValidationError
from typing_extensions import Self

from impasto.corpus import merkle
from impasto.corpus.policy import Policy
from impasto.corpus.record import COLUMNS, WORK_COLUMNS, Refused, Row, flatten, unflatten
from impasto.errors import CorpusChanged, CorpusError, NotFound
from impasto.files import write_bytes, write_text
from impasto.schema import Frozen, bytes_digest

MANIFEST = "corpus.json"
REVOKED = "revoked.jsonl"
_SHARD, _GROUP = 4096, 128  # images in a file, and in a group that is read at once

_TYPES: dict[str, pa.DataType] = {
    "width": pa.int32(),
    "height": pa.int32(),
    "bytes": pa.int32(),
    "ink": pa.float64(),
    "repeat": pa.int32(),
    "also": pa.list_(pa.string()),
    "signals": pa.list_(pa.struct([(name, pa.string()) for name in ("kind", "raw", "verdict", "seen_at")])),
}
_ROWS = pa.schema([*((name, _TYPES.get(name, pa.string())) for name in COLUMNS), ("leaf", pa.binary())])
_REFUSED = pa.schema([*((name, _TYPES.get(name, pa.string())) for name in (*WORK_COLUMNS, "rule", "reason"))])
_IMAGES = pa.schema([("id", pa.string()), ("data", pa.binary())])


class Manifest(Frozen):
    """What `corpus.json` says.

    Attributes:
        format: version of the layout.
        name: of the corpus.
        root: Merkle root over its rows, sorted by id and key.
        refused_root: Merkle root over the works left out, sorted by key.
        rows: how many.
        refused: how many.
        images_bytes: size of all stored images.
        size: side of the images in pixels; None when they have their own sizes.
        policy: digest of the policy.
        plan: digest of the plan.
        builder: names and versions of what determines the images.
    """

    format: Literal["impasto-corpus/1"] = "impasto-corpus/1"
    name: str
    root: str
    refused_root: str
    rows: int
    refused: int
    images_bytes: int
    size: int | None
    policy: str
    plan: str
    builder: dict[str, str]


class Corpus:
    """An opened corpus.

    Attributes:
        folder: where it is.
        manifest: what it says of itself.
        policy: what admitted its rows.
        rows: in the order of the plan.
    """

    def __init__(self, folder: Path, manifest: Manifest, policy: Policy, rows: Sequence[Row]) -> None:
        self.folder, self.manifest, self.policy, self.rows = folder, manifest, policy, tuple(rows)

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open the corpus in `folder`; its images may be absent.

        Raises:
            NotFound: there is no corpus.
            CorpusChanged: a file of it cannot be read as what it should be. (Call `verify` for the rest.)
        """
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise NotFound(f"No corpus in {folder}: it has no {MANIFEST}. Build one with `impasto corpus build`.")
        manifest = _read_manifest(folder / MANIFEST)
        policy = Policy.read_toml(folder / "policy.toml")
        return cls(folder, manifest, policy, [row for row, _ in _read_rows(folder / "rows.parquet")])

    @cached_property
    def root(self) -> str:
        """Merkle root of the rows as they are here, `sha256:<hex>`."""
        return merkle.root(self._leaves)

    @cached_property
    def refused(self) -> tuple[Refused, ...]:
        """The works left out, with reasons."""
        return tuple(_read_refused(self.folder / "refused.parquet"))

    @property
    def has_images(self) -> bool:
        """Whether the images are here, or only the manifest."""
        return (self.folder / "images").is_dir()

    def image(self, row: Row) -> Pillow.Image:
        """Return the image of `row`, RGBA.

        Raises:
            CorpusChanged: it is missing or not the one that the row names.
        """
        with Pillow.open(io.BytesIO(self.image_bytes(row))) as opened:
            return upright(opened)

    def image_bytes(self, row: Row) -> bytes:
        """Return the stored file of `row`.

        Raises:
            CorpusChanged: it is missing or not the one that the row names.
        """
        data = self._images.get(row.id)
        if bytes_digest(data) != row.id:
            raise CorpusChanged(
                f"The image of {row.key} is not the one its row names ({row.id}). Build the corpus again."
            )
        return data

    def find(self, name: str) -> Row:
        """Return the row with the id, the start of an id, or the key (`noto:fox`) `name`.

        Raises:
            NotFound: no row, or several.
        """
        hexes = name.removeprefix("sha256:")
        found = [row for row in self.rows if row.key == name or row.id.removeprefix("sha256:").startswith(hexes)]
        if len(found) != 1:
            raise NotFound(f"{len(found)} rows fit {name!r}; give a key such as noto:fox, or more of the id.")
        return found[0]

    def subset(self, predicate: Callable[[Row], bool]) -> Corpus:
        """Return the corpus of the rows that `predicate` picks, with its own root."""
        rows = [row for row in self.rows if predicate(row)]
        size = sum({row.id: row.image.bytes for row in rows}.values())
        picked = Corpus(self.folder, self.manifest, self.policy, rows)
        picked.manifest = self.manifest.model_copy(
            update={"root": picked.root, "rows": len(rows), "images_bytes": size}
        )
        return picked

    def prove(self, row: Row) -> merkle.Proof:
        """Return the proof that `row` is in this corpus; `merkle.verify(proof, leaf_hash(row.leaf()))` checks it."""
        return merkle.prove(self._leaves, canonical_order(self.rows).index(row))

    def verify(self) -> list[str]:
        """Return everything that differs from what the corpus promises; empty when all holds."""
        return [
            *_changed_rows(self.folder / "rows.parquet"),
            *self._changed_roots(),
            *(
                f"{row.key} is not admitted: {refusal.reason}"
                for row in self.rows
                if (refusal := self.policy.admits(row))
            ),
            *(self._changed_images() if self.has_images else ()),
        ]

    def _changed_roots(self) -> Iterator[str]:
        said = self.manifest
        if self.policy.digest != said.policy:
            yield f"policy.toml has digest {self.policy.digest}; {MANIFEST} says {said.policy}"
        if len(self.rows) != said.rows:
            yield f"rows.parquet has {len(self.rows)} rows; {MANIFEST} says {said.rows}"
        if self.root != said.root:
            yield f"the rows have root {self.root}; {MANIFEST} says {said.root}"
        if len(self.refused) != said.refused:
            yield f"refused.parquet has {len(self.refused)} rows; {MANIFEST} says {said.refused}"
        if (root := refused_root(self.refused)) != said.refused_root:
            yield f"the refused works have root {root}; {MANIFEST} says {said.refused_root}"

    def _changed_images(self) -> Iterator[str]:
        expected = {row.id: row for row in self.rows}
        seen: set[str] = set()
        for shard, name, data in self._images:
            if name in seen:
                yield f"image {name} is there twice ({shard})"
            elif name not in expected:
                yield f"image {name} belongs to no row ({shard})"
            elif bytes_digest(data) != name:
                yield f"image of {expected[name].key} was changed ({shard})"
            seen.add(name)
        yield from (f"image of {row.key} is missing ({name})" for name, row in expected.items() if name not in seen)

    @cached_property
    def _leaves(self) -> list[bytes]:
        return _leaves(self.rows)

    @cached_property
    def _images(self) -> Images:
        return Images(self.folder / "images")


class Images:
    """The stored images of a corpus: by id, and one after the other."""

    def __init__(self, folder: Path) -> None:
        self.shards = sorted(folder.glob("*.parquet"))
        self._recent: tuple[tuple[Path, int], dict[str, bytes]] | None = None

    def __iter__(self) -> Iterator[tuple[str, str, bytes]]:
        """Yield (file, id, bytes) of every image."""
        for shard in self.shards:
            with _parquet(shard) as file:
                for group in range(file.num_row_groups):
                    yield from ((shard.name, name, data) for name, data in _pairs(file, group))

    def get(self, name: str) -> bytes:
        """Return the bytes stored under id `name`.

        Raises:
            CorpusChanged: there are none.
        """
        if name not in self._places:
            raise CorpusChanged(f"No image {name} in this corpus. Build it again, or fetch the images.")
        place = self._places[name]
        if self._recent is None or self._recent[0] != place:
            with _parquet(place[0]) as file:
                self._recent = (place, dict(_pairs(file, place[1])))
        return self._recent[1][name]

    @cached_property
    def _places(self) -> dict[str, tuple[Path, int]]:
        places = {}
        for shard in self.shards:
            with _parquet(shard) as file:
                for group in range(file.num_row_groups):
                    ids = file.read_row_group(group, columns=["id"]).column("id").to_pylist()
                    places.update(dict.fromkeys(ids, (shard, group)))
        return places


class RowFile(Sequence[Row]):
    """The rows of a file, of which only the groups that are asked for are read."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`.

        Raises:
            CorpusChanged: it cannot be read.
        """
        self.path = path
        with _parquet(path) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        self._ends = list(accumulate(sizes))
        self._recent: tuple[int, list[dict[str, Any]]] = (-1, [])

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        """Return the row at `place`, or those of a slice.

        Raises:
            IndexError: there is none.
            CorpusChanged: what is there is no row.
        """
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        group = bisect_right(self._ends, place)
        if self._recent[0] != group:
            with _parquet(self.path) as file:
                self._recent = (group, file.read_row_group(group).to_pylist())
        return _row(self.path, self._recent[1][place - self._ends[group]])


def upright(image: Pillow.Image) -> Pillow.Image:
    """Return `image` as RGBA, turned as its camera says."""
    return ImageOps.exif_transpose(image).convert("RGBA")


def root_of(rows: Iterable[Row]) -> str:
    """Return the Merkle root over `rows`, `sha256:<hex>`."""
    return merkle.root(_leaves(rows))


def _leaves(rows: Iterable[Row]) -> list[bytes]:
    return [merkle.leaf_hash(row.leaf()) for row in canonical_order(rows)]


def canonical_order(rows: Iterable[Row]) -> list[Row]:
    """Return `rows` in the order in which the Merkle root takes them."""
    return sorted(rows, key=lambda row: (row.id, row.key))


def refused_root(refused: Iterable[Refused]) -> str:
    """Return the Merkle root over works left out."""
    return merkle.root(
        [merkle.leaf_hash(r.leaf()) for r in sorted(refused, key=lambda r: (r.work.key, r.rule, r.reason))]
    )


def write(
    folder: Path,
    manifest: Manifest,
    texts: Mapping[str, str],
    rows: Sequence[Row],
    refused: Sequence[Refused],
    images: Iterable[tuple[str, bytes]],
) -> None:
    """Write a corpus to `folder`, whole or not at all; a corpus that is there is replaced.

    Args:
        folder: a new or empty folder, or one that holds a corpus.
        manifest: what the corpus says of itself.
        texts: file name -> content (`plan.toml`, `policy.toml`).
        rows: in the order to keep.
        refused: works left out.
        images: (id, file bytes), each id once.

    Raises:
        CorpusError: `folder` holds something that is not a corpus.
    """
    check_writable(folder)
    new = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        (new / "images").mkdir(parents=True)
        for name, text in texts.items():
            write_text(new / name, text)
        write_rows(new / "rows.parquet", rows)
        _write_table(new / "refused.parquet", _REFUSED, [_flat_refused(r) for r in refused])
        write_images(new / "images", images)
        if (folder / REVOKED).is_file():
            shutil.copy2(folder / REVOKED, new / REVOKED)
        write_bytes(new / MANIFEST, manifest.canonical() + b"\n")
        _replace(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Raise CorpusError when `folder` holds something that is not a corpus."""
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder} is there and is not a corpus; choose another --output.")


def _replace(new: Path, folder: Path) -> None:
    old = new.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write `rows`, each with the hash of its Merkle leaf, to the file at `path`."""
    _write_table(path, _ROWS, [{**flatten(row), "leaf": merkle.leaf_hash(row.leaf())} for row in rows])


def _write_table(path: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, path, compression="zstd", compression_level=9, row_group_size=_SHARD)


def write_images(folder: Path, images: Iterable[tuple[str, bytes]]) -> None:
    """Write `images` (id, file bytes), each id once, to files in `folder` that `Images` reads."""
    remaining = iter(images)
    number = 0
    while shard := [{"id": name, "data": data} for name, data in islice(remaining, _SHARD)]:
        table = pa.Table.from_pylist(shard, schema=_IMAGES)
        pq.write_table(
            table, folder / f"{number:05d}.parquet", row_group_size=_GROUP, compression="none", use_dictionary=False
        )
        number += 1


def _read_manifest(path: Path) -> Manifest:
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorpusChanged(f"Cannot read {path}: {error}") from error
    return Manifest.parse(data, str(path))


def _read_rows(path: Path) -> Iterator[tuple[Row, bytes]]:
    for flat in _read_table(path):
        yield _row(path, flat), flat.get("leaf") or b""


def _row(path: Path, flat: dict[str, Any]) -> Row:
    try:
        return Row.model_validate(unflatten(flat))
    except (ValidationError, KeyError) as error:
        raise CorpusChanged(
            f"{path} holds a row that is none ({flat.get('collection')}:{flat.get('key')}): {error}"
        ) from error


def _changed_rows(path: Path) -> Iterator[str]:
    keys: set[str] = set()
    for row, leaf in _read_rows(path):
        if merkle.leaf_hash(row.leaf()) != leaf:
            yield f"row {row.key} was changed: it does not fit the hash beside it"
        if row.key in keys:
            yield f"row {row.key} is there twice"
        keys.add(row.key)


def _flat_refused(refused: Refused) -> dict[str, Any]:
    return {**flatten(refused.work, WORK_COLUMNS), "rule": refused.rule, "reason": refused.reason}


def _read_refused(path: Path) -> Iterator[Refused]:
    for flat in _read_table(path):
        try:
            yield Refused.model_validate(
                {"work": unflatten(flat, WORK_COLUMNS), "rule": flat["rule"], "reason": flat["reason"]}
            )
        except (ValidationError, KeyError) as error:
            raise CorpusChanged(f"{path} holds a row that is none: {error}") from error


def _read_table(path: Path) -> list[dict[str, Any]]:
    with _parquet(path) as file:
        rows: list[dict[str, Any]] = file.read().to_pylist()
    return rows


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise CorpusChanged(f"Cannot read {path}: {error}") from error


def _pairs(file: pq.ParquetFile, group: int) -> Iterator[tuple[str, bytes]]:
    table = file.read_row_group(group)
    return zip(table.column("id").to_pylist(), table.column("data").to_pylist(), strict=True)
