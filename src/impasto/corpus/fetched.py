"""A folder of fetched images: what `impasto corpus fetch` writes, and goes on from.

    fetch.json      the table's digest, how it was asked, rows of a shard
    00000.tar       WebDataset: 000000012.png, .txt (caption), .json (the whole visit)
    00000.parquet   a row per row of the table: status, reason, signals, image
    00001.journal   the shard that is being fetched: each visit is added when it is over

A shard's Parquet file is written last, so that a shard that has one is whole. Of a journal that was cut off by a kill
the whole records count and the torn one is taken away.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from impasto.corpus.visit import Listed, Visit
from impasto.errors import CorpusChanged, InvalidInput, NotFound
from impasto.files import write_bytes, written_whole
from impasto.schema import Digest, Frozen, bytes_digest, read_json

HEAD = "fetch.json"
EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}

_SIGNAL = pa.struct([(name, pa.string()) for name in ("kind", "raw", "verdict", "seen_at")])
_SCHEMA = pa.schema(
    [
        ("place", pa.int64()),
        *((name, pa.string()) for name in ("key", "url", "caption", "page", "maker", "maker_uri", "licence")),
        *((name, pa.string()) for name in ("licence_url", "consent", "consent_evidence", "status", "reason", "basis")),
        *((name, pa.string()) for name in ("at", "final_url", "id", "media_type", "phash", "duplicate_of")),
        *((name, pa.int32()) for name in ("http_status", "width", "height", "bytes", "runs")),
        ("passing", pa.bool_()),
        ("earlier", pa.list_(pa.string())),
        ("signals", pa.list_(_SIGNAL)),
    ]
)


class Head(Frozen):
    """What `fetch.json` says.

    Attributes:
        format: version of the layout.
        table: digest of the url table.
        agent: the user agent.
        shard: rows of a shard.
    """

    format: Literal["impasto-fetch/1"] = "impasto-fetch/1"
    table: Digest
    agent: str
    shard: int


class Fetched:
    """A folder of fetched images."""

    def __init__(self, folder: Path, head: Head) -> None:
        self.folder, self.head = folder, head

    @classmethod
    def open(cls, folder: Path) -> Fetched:
        """Open the folder.

        Raises:
            NotFound: nothing was fetched there.
        """
        if not (folder / HEAD).is_file():
            raise NotFound(f"Nothing was fetched to {folder}: it has no {HEAD}. See `impasto corpus fetch`.")
        return cls(folder, Head.parse(read_json(folder / HEAD), str(folder / HEAD)))

    @classmethod
    def begin(cls, folder: Path, head: Head) -> Fetched:
        """Open the folder to go on with the same table, or make it.

        Raises:
            InvalidInput: it holds something else, or what another table gave.
        """
        if (folder / HEAD).is_file():
            known = cls.open(folder)
            if (known.head.table, known.head.shard) != (head.table, head.shard):
                raise InvalidInput(
                    f"{folder} was fetched from another table, or in shards of {known.head.shard} rows; "
                    "choose another --output, or the same table and --shard."
                )
            return known
        if folder.exists() and any(folder.iterdir()):
            raise InvalidInput(f"{folder} is there and holds something else; choose another --output.")
        write_bytes(folder / HEAD, head.canonical() + b"\n")
        return cls(folder, head)

    @property
    def shards(self) -> list[int]:
        """Numbers of the shards that are whole."""
        return sorted(int(path.stem) for path in self.folder.glob("[0-9]*.parquet"))

    def has(self, shard: int) -> bool:
        """Return whether a shard is whole, and none of its rows is being tried again."""
        return self._path(shard, "parquet").is_file() and not self._path(shard, "journal").is_file()

    def reopen(self, shard: int, keep: Callable[[Visit], bool]) -> None:
        """Make a whole shard one that is being fetched, in which only the visits to `keep` are over.

        Its files stay until it is closed anew: a kill at any time loses nothing.
        """
        images = dict(self.images(shard))
        with written_whole(self._path(shard, "journal")) as path, path.open("wb") as file:
            for visit in filter(keep, self.visits(shard)):
                file.write(_record(visit, images.get(visit.listed.key, b"")))

    def before(self, shard: int) -> dict[int, Visit]:
        """Return the visits of a shard that is being fetched anew, as they were before, by place; none of a new one."""
        return {v.listed.place: v for v in self.visits(shard)} if self._path(shard, "parquet").is_file() else {}

    def visits(self, shard: int) -> list[Visit]:
        """Return the visits of a shard, in the order of the table.

        Raises:
            CorpusChanged: its file cannot be read.
        """
        try:
            rows = pq.read_table(self._path(shard, "parquet")).to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise CorpusChanged(f"Cannot read shard {shard} of {self.folder}: {error}") from error
        return [_visit(row) for row in rows]

    def images(self, shard: int) -> Iterator[tuple[str, bytes]]:
        """Yield (key, file) of every image of a shard."""
        with tarfile.open(self._path(shard, "tar")) as archive:
            for member in archive:
                key, _, extension = member.name.partition(".")
                if extension in EXTENSIONS.values() and (file := archive.extractfile(member)):
                    yield key, file.read()

    def image(self, key: str) -> bytes:
        """Return the image file of the row `key`.

        Raises:
            CorpusChanged: it is not there.
        """
        for name, data in self.images(int(key) // self.head.shard):
            if name == key:
                return data
        raise CorpusChanged(f"{self.folder} has no image {key}.")

    def journal(self, shard: int) -> Journal:
        """Open the journal of a shard that is not whole."""
        return Journal(self._path(shard, "journal"))

    def close(self, shard: int, visits: Sequence[Visit], images: Iterable[tuple[str, bytes]]) -> None:
        """Write a shard whole: its tar, then its table; then the journal goes.

        Args:
            shard: its number.
            visits: of all its rows.
            images: (key, file) of those whose status is `fetched`.
        """
        told = {visit.listed.key: visit for visit in visits}
        with written_whole(self._path(shard, "tar")) as path, tarfile.open(path, "w") as archive:
            for key, data in images:
                if told[key].status == "fetched":
                    _add(archive, told[key], data)
        table = pa.Table.from_pylist([_flat(visit) for visit in visits], schema=_SCHEMA)
        with written_whole(self._path(shard, "parquet")) as path:
            pq.write_table(table, path, compression="zstd")
        self._path(shard, "journal").unlink(missing_ok=True)

    def _path(self, shard: int, suffix: str) -> Path:
        return self.folder / f"{shard:05d}.{suffix}"


class Journal:
    """Visits of a shard as they end: records of two lengths (8 bytes each, big-endian), JSON, and the image file."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`, and take away a record that a kill has torn."""
        self.path = path
        self._places: dict[int, tuple[int, int]] = {}
        self.visits: dict[int, Visit] = {}
        self._file: BinaryIO = path.open("a+b", buffering=0)
        self._file.truncate(self._read())

    def add(self, visit: Visit, image: bytes) -> None:
        """Add a visit; once this returns, a kill does not lose it."""
        start, record, written = self._file.seek(0, io.SEEK_END), _record(visit, image), 0
        while written < len(record):
            written += self._file.write(record[written:]) or 0
        self.visits[visit.listed.place] = visit
        self._places[visit.listed.place] = (start + len(record) - len(image), len(image))

    def image(self, place: int) -> bytes:
        """Return the image file of the row at `place`."""
        start, size = self._places[place]
        self._file.seek(start)
        return _exactly(self._file, size) or b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self) -> int:
        """Read what is there and return the length of its whole records."""
        end = 0
        self._file.seek(0)
        while (head := _exactly(self._file, 16)) is not None:
            sizes = int.from_bytes(head[:8], "big"), int.from_bytes(head[8:], "big")
            told = _exactly(self._file, sizes[0])
            start = self._file.tell()
            if told is None or self._file.seek(0, io.SEEK_END) < start + sizes[1]:
                break
            visit = Visit.model_validate_json(told)
            self.visits[visit.listed.place] = visit
            self._places[visit.listed.place] = (start, sizes[1])
            end = self._file.seek(start + sizes[1])
        return end


def _record(visit: Visit, image: bytes) -> bytes:
    told = visit.canonical()
    return len(told).to_bytes(8, "big") + len(image).to_bytes(8, "big") + told + image


def _exactly(file: BinaryIO, size: int) -> bytes | None:
    pieces = []
    while size and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return None if size else b"".join(pieces)


def _add(archive: tarfile.TarFile, visit: Visit, data: bytes) -> None:
    if visit.found is None or bytes_digest(data) != visit.found.id:
        raise CorpusChanged(f"The image of row {visit.listed.key} is not the one that was fetched.")
    texts = {"txt": visit.listed.caption.encode("utf-8", errors="replace"), "json": visit.canonical()}
    for extension, content in {EXTENSIONS[visit.found.media_type]: data, **texts}.items():
        member = tarfile.TarInfo(f"{visit.listed.key}.{extension}")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def _flat(visit: Visit) -> dict[str, Any]:
    plain = visit.plain()
    listed, found = plain.pop("listed"), plain.pop("found") or {}
    consent = listed.pop("consent")
    return {
        **plain,
        **listed,
        **found,
        "key": visit.listed.key,
        "consent": consent["basis"],
        "consent_evidence": consent["evidence"],
    }


def _visit(row: dict[str, Any]) -> Visit:
    found = {name: row[name] for name in ("id", "media_type", "width", "height", "bytes", "phash")}
    listed = {name: row[name] for name in Listed.model_fields if name != "consent"}
    data = {
        **{name: row[name] for name in Visit.model_fields if row.get(name) is not None},
        "listed": {**listed, "consent": {"basis": row["consent"], "evidence": row["consent_evidence"]}},
        "found": found if row["id"] else None,
    }
    return Visit.parse(json.loads(json.dumps(data)), "a fetched shard")
