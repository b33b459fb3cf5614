"""Safetensors files: read with a strict check of the header, memory-mapped; written whole.

Format: https://github.com/huggingface/safetensors#format. Eight bytes of header length (little-endian), the header (a
JSON object: name -> dtype, shape, offsets; `__metadata__` -> strings), the tensors' bytes without holes.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from typing_extensions import Self

from impasto.errors import InvalidInput, NotFound, UnreadableWeights
from impasto.files import written_whole
from impasto.schema import canonical_json

MAX_HEADER_BYTES = 100_000_000
MAX_ELEMENTS = 2**63 - 1

SMALL_HEADER = 8_000_000
"""Bytes of header that any file may have; larger ones a fifth of the file. Text takes nine times its bytes to parse."""

MAX_PIECES = 1_000_000
"""JSON values that any header may have; larger files may have one for each hundred bytes. In memory one takes 100."""

DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F64": torch.float64,
}
"""The format's dtype names. Those of less than a byte and block formats are not read here."""

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies.

    Attributes:
        dtype: of its numbers.
        shape: its sides.
        start: first byte, from the start of the file.
        end: byte after the last.
        strides: numbers from one element to the next along each side, where they do not simply follow one another.
        source: which file, where there are several.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int
    strides: tuple[int, ...] | None = None
    source: int = 0

    def without_ones(self, count: int) -> Entry:
        """Return this without its last `count` sides, if they are all 1; else this as it is."""
        if self.shape[-count:] != (1,) * count:
            return self
        return replace(self, shape=self.shape[:-count], strides=self.strides[:-count] if self.strides else None)

    def part(self, index: int, count: int) -> Entry:
        """Return one of `count` equal parts along the first side; this as it is if that cannot be."""
        if not self.shape or self.shape[0] % count:
            return self
        shape = (self.shape[0] // count, *self.shape[1:])
        row = self.strides[0] if self.strides else math.prod(self.shape[1:])
        start = self.start + index * shape[0] * row * self.dtype.itemsize
        size = self.end - self.start - (count - 1) * shape[0] * row * self.dtype.itemsize
        return replace(self, shape=shape, start=start, end=start + size)


class TensorFile(Mapping[str, torch.Tensor]):
    """Tensors by name as they lie in a file (or several), memory-mapped: no bytes are read before they are used.

    A tensor taken from here may be changed in memory; the file never changes with it.

    Attributes:
        path: of the file; of the first of several.
        entries: where the tensors lie.
        metadata: the header's own strings.
    """

    def __init__(self, path: Path, header: tuple[Mapping[str, Entry], Mapping[str, str]] | None = None) -> None:
        """Check the header of the safetensors file at `path` and map it.

        Args:
            path: of the file.
            header: entries and metadata of a file of another kind, already checked against its size.

        Raises:
            NotFound: no such file.
            UnreadableWeights: not a well-formed safetensors file.
        """
        self.path = path
        self.entries: Mapping[str, Entry]
        self.metadata: Mapping[str, str]
        self.entries, self.metadata = header or read_header(path)
        self._sources = [(path, _mapped(path))]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that the tensors lie in."""
        return tuple(path for path, _ in self._sources)

    def viewed(self, entries: Mapping[str, Entry]) -> Self:
        """Return the same files with other `entries`, which must lie within them."""
        view = object.__new__(type(self))
        view.path, view.entries, view.metadata, view._sources = self.path, entries, self.metadata, self._sources
        return view

    def mapped_anew(self) -> Self:
        """Return the same with mappings of its own: what was read leaves memory with the last tensor taken from it."""
        view = self.viewed(self.entries)
        view._sources = [(path, _mapped(path)) for path, _ in self._sources]
        return view

    @classmethod
    def joined(cls, parts: Sequence[TensorFile]) -> TensorFile:
        """Return the tensors of all `parts`, of which none may name what another does."""
        entries: dict[str, Entry] = {}
        for index, part in enumerate(parts):
            if twice := entries.keys() & part.entries.keys():
                raise _unreadable(part.path, f"{min(twice)!r} is also in another part of the same model")
            entries |= {name: replace(entry, source=index) for name, entry in part.entries.items()}
        whole = parts[0].viewed(entries)
        whole._sources = [part._sources[0] for part in parts]
        return whole

    def __getitem__(self, name: str) -> torch.Tensor:
        entry = self.entries[name]
        if entry.start % entry.dtype.itemsize:
            return self.read(name)  # lies unaligned in the file
        return _tensor(self._sources[entry.source][1], entry, entry.start)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, name: str) -> torch.Tensor:
        """Return a copy of tensor `name` that is not tied to the mapping."""
        entry = self.entries[name]
        path, content = self._sources[entry.source][0], bytearray(entry.end - entry.start)
        with path.open("rb") as file:
            file.seek(entry.start)
            if file.readinto(content) != len(content):
                raise UnreadableWeights(f"{path} has become shorter since it was opened.")
        return _tensor(content, entry, 0)

    def digest(self, names: Mapping[str, str] | None = None) -> str:
        """Return the `tensors_digest` of the content; `names` gives (name to digest under) -> (name in the file)."""
        names = names if names is not None else {name: name for name in self}
        entries = ((ours, names[ours], self.entries[names[ours]]) for ours in sorted(names))
        return _digest((ours, entry.dtype, entry.shape, self._pieces(theirs)) for ours, theirs, entry in entries)

    def _pieces(self, name: str) -> Iterator[bytes | memoryview]:
        entry = self.entries[name]
        if entry.strides is not None:
            yield _content(self.read(name))
            return
        with self._sources[entry.source][0].open("rb") as file:
            file.seek(entry.start)
            left = entry.end - entry.start
            while left and (piece := file.read(min(left, 1 << 20))):
                yield piece
                left -= len(piece)


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _tensor(source: mmap.mmap | bytearray, entry: Entry, offset: int) -> torch.Tensor:
    if entry.start == entry.end:
        return torch.empty(entry.shape, dtype=entry.dtype)
    count = (entry.end - entry.start) // entry.dtype.itemsize
    flat = torch.frombuffer(source, dtype=entry.dtype, count=count, offset=offset)
    return flat.reshape(entry.shape) if entry.strides is None else flat.as_strided(entry.shape, entry.strides)


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Return the tensors' entries and the metadata of the safetensors file at `path`.

    Raises:
        NotFound: no such file.
        UnreadableWeights: the header is not well formed or does not fit the file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(MAX_HEADER_BYTES, size - 8, max(SMALL_HEADER, size // 5)):
                raise _unreadable(path, f"its header would be {length} bytes long; the file has {size}")
            content = file.read(length)
        if (pieces := sum(map(content.count, (b"{", b"[", b",")))) > max(MAX_PIECES, size // 100):
            raise _unreadable(path, f"its header has {pieces:,} values, which {size:,} bytes do not need")
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror or error}.") from error
    try:
        entries, metadata = _parse_header(content, offset=8 + length)
        _check_cover(entries, start=8 + length, end=size)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from None
    return entries, metadata


def _unreadable(path: Path, why: str) -> UnreadableWeights:
    return UnreadableWeights(f"{path} is not a well-formed safetensors file: {why}.")


def _parse_header(content: bytes, offset: int) -> tuple[dict[str, Entry], dict[str, str]]:
    if not content.startswith(b"{"):
        raise ValueError("the header is not a JSON object")
    header = json.loads(content.decode("utf-8"), object_pairs_hook=_without_duplicates)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ has values that are not strings")
    return {name: _parse_entry(name, entry, offset) for name, entry in header.items()}, metadata


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"the header names {name!r} twice")
        result[name] = value
    return result


def _parse_entry(name: str, entry: Any, offset: int) -> Entry:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} needs exactly dtype, shape and data_offsets")
    dtype_name, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = DTYPES.get(dtype_name) if isinstance(dtype_name, str) else None
    if dtype is None:
        raise ValueError(f"tensor {name!r} has dtype {dtype_name!r}; read here are {', '.join(DTYPES)}")
    if not _naturals(shape) or math.prod(max(side, 1) for side in shape) > MAX_ELEMENTS:
        raise ValueError(f"tensor {name!r} has the impossible shape {shape!r:.100}")
    if not _naturals(span) or len(span) != 2 or span[1] - span[0] != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"tensor {name!r} of {dtype_name} {shape!r:.100} has data_offsets {span!r:.100}")
    return Entry(dtype, tuple(shape), offset + span[0], offset + span[1])


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_cover(entries: Mapping[str, Entry], start: int, end: int) -> None:
    position = start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != position:
            kind = "overlaps another tensor" if entry.start < position else "leaves a hole before it"
            raise ValueError(f"tensor {name!r} {kind}")
        position = entry.end
    if position != end:
        raise ValueError(f"its tensors end at byte {position}, the file at {end}")


def load(path: Path) -> TensorFile:
    """Open the safetensors file at `path`: a mapping of names to memory-mapped tensors.

    Raises:
        NotFound: no such file.
        UnreadableWeights: not a well-formed safetensors file.
    """
    return TensorFile(path)


def save(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` to a safetensors file at `path`, whole or not at all; the same input gives the same bytes.

    Raises:
        InvalidInput: a name, dtype or metadata value that the format cannot carry.
    """
    for _ in saving(path, tensors, tensors.__getitem__, metadata):
        pass


def saving(
    path: Path,
    outlines: Mapping[str, torch.Tensor],
    make: Callable[[str], torch.Tensor],
    metadata: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Write a safetensors file of which only one tensor at a time is in memory; yield each name when it is written.

    Args:
        path: of the file, which is there whole when this has come to its end, and not before.
        outlines: tensors of the right dtypes and shapes; on the meta device they take no memory.
        make: (name) -> the tensor itself.
        metadata: the file's own strings.

    Raises:
        InvalidInput: a name, dtype or metadata value that the format cannot carry.
    """
    order = _order(outlines)
    header = _header(outlines, order, metadata or {})
    with written_whole(path) as temporary, temporary.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name in order:
            file.write(_content(make(name)))
            yield name


def _order(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    return sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))  # keeps every tensor aligned


def data_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of what follows the header in the file that `save` writes of them.

    Other programs tell adapters by it, since it stays when metadata change.
    """
    state = hashlib.sha256()
    for name in _order(tensors):
        state.update(_content(tensors[name]))
    return state.hexdigest()


def _header(tensors: Mapping[str, torch.Tensor], order: list[str], metadata: Mapping[str, str]) -> bytes:
    if "__metadata__" in tensors:
        raise InvalidInput("A tensor cannot be called __metadata__: the format keeps that name for itself.")
    if wrong := [key for key, value in metadata.items() if not isinstance(key, str) or not isinstance(value, str)]:
        raise InvalidInput(f"Metadata of a safetensors file are strings; these are not: {wrong}.")
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    position = 0
    for name in order:
        tensor = tensors[name]
        end = position + tensor.numel() * tensor.dtype.itemsize
        header[name] = {
            "dtype": _dtype_name(name, tensor.dtype),
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    content = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    return content + b" " * (-len(content) % 8)


def _dtype_name(name: str, dtype: torch.dtype) -> str:
    if dtype not in DTYPE_NAMES:
        raise InvalidInput(f"Tensor {name!r} is {dtype}; a safetensors file holds {', '.join(DTYPES)}.")
    return DTYPE_NAMES[dtype]


def _content(tensor: torch.Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return `sha256:<hex>` over the tensors in order of name.

    Hashed for each are the canonical JSON of [name, dtype, shape] and its bytes. Neither metadata nor the order in a
    file matter.
    """
    items = ((name, tensors[name]) for name in sorted(tensors))
    return _digest((name, tensor.dtype, tensor.shape, [_content(tensor)]) for name, tensor in items)


Described = tuple[str, torch.dtype, Iterable[int], Iterable[bytes | memoryview]]


def _digest(tensors: Iterable[Described]) -> str:
    state = hashlib.sha256()
    for name, dtype, shape, pieces in tensors:
        state.update(canonical_json([name, _dtype_name(name, dtype), list(shape)]))
        for piece in pieces:
            state.update(piece)
    return f"sha256:{state.hexdigest()}"
