"""Says where the tensors lie in a file that torch.save wrote, without running or importing anything that it names.

This is a program, run by pickles.py in a process of its own: it takes the file as its standard input and prints JSON.
It needs nothing but the standard library. A pickle is a program for a small stack machine (`pickletools` documents it);
here is such a machine that can only make plain data. A name out of the file never becomes an object: it stays two
strings, and calling it looks them up in the tables below, or is refused.

Formats: `torch/serialization.py`. Since 1.6 a zip, uncompressed, of `data.pkl` and one file a storage; before that five
pickles one after the other, and then the storages.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import pickletools
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_PICKLE_BYTES = 256 << 20
MAX_DEPTH = 8
MAX_SIDES = 64
MEMBER = re.compile(
    r"data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id"
)
OLD_MAGIC, OLD_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Refused(Exception):
    """What the file asks for is not done; says what it is."""


@dataclass(frozen=True)
class Name:
    """A name out of the file: two strings, never what they name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module!r:.100} {self.name!r:.100}".replace("'", "").replace(" ", ".", 1)


class Inert:
    """Something that is no weight and is not looked at."""


class Parameters(dict[Any, Any]):
    """The tensors of a `torch.nn.ParameterDict`, in which the first textual inversions were saved."""


@dataclass(frozen=True)
class Storage:
    """A stretch of numbers: `key` says where in the file, `count` how many."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count numbers of `dtype`."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


SIZES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E5M2": 1,
    "F8_E4M3": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}
"""Bytes of a number, by the dtype's name in safetensors."""

STORAGES = {
    Name("torch", f"{kind}Storage"): dtype
    for kind, dtype in {
        "Double": "F64",
        "Float": "F32",
        "Half": "F16",
        "BFloat16": "BF16",
        "Long": "I64",
        "Int": "I32",
        "Short": "I16",
        "Char": "I8",
        "Byte": "U8",
        "Bool": "BOOL",
        "Untyped": "U8",
    }.items()
} | {Name("torch.storage", "UntypedStorage"): "U8"}

DTYPES = {
    Name("torch", name): dtype
    for name, dtype in {
        "float64": "F64",
        "float32": "F32",
        "float16": "F16",
        "bfloat16": "BF16",
        "float8_e5m2": "F8_E5M2",
        "float8_e4m3fn": "F8_E4M3",
        "int64": "I64",
        "int32": "I32",
        "int16": "I16",
        "int8": "I8",
        "uint8": "U8",
        "uint16": "U16",
        "uint32": "U32",
        "uint64": "U64",
        "bool": "BOOL",
    }.items()
}


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    """Read the arguments of `_rebuild_tensor_v2`, and of those before and after it."""
    dtype = next((DTYPES[value] for value in rest if isinstance(value, Name) and value in DTYPES), None)
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    tensor = Tensor(storage, dtype or storage.dtype, offset, shape, strides)
    if not _natural(offset) or not _naturals(shape) or not _naturals(strides) or len(shape) != len(strides):
        raise Refused(f"a tensor of shape {shape!r:.100}, strides {strides!r:.100} and offset {offset!r:.100}")
    if (offset + _extent(tensor)) * SIZES[tensor.dtype] > storage.count * SIZES[storage.dtype]:
        raise Refused(f"a tensor of shape {shape!r:.100} beyond the end of its storage of {storage.count}")
    return tensor


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _naturals(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= MAX_SIDES and all(map(_natural, value))


def _extent(tensor: Tensor) -> int:
    """Return how many numbers of the storage lie between the first and the last, both counted."""
    if 0 in tensor.shape:
        return 0
    return 1 + sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides))  # noqa: B905 - checked


def _mapping(*arguments: Any) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for pairs in arguments:
        for key, value in pairs.items() if isinstance(pairs, dict) else pairs:
            result[_key(key)] = value
    return result


def _key(key: Any) -> Any:
    """Return `key` if it is one that a dictionary here may have: nothing that takes long to hash."""
    if key is None or isinstance(key, (str, bytes, int, float, Name, Inert)):
        return key
    raise Refused(f"a key that is a {type(key).__name__}")


def _first(value: Any, *_: Any) -> Any:
    return value


CALLS: dict[Name, Callable[..., Any]] = {
    Name("torch._utils", "_rebuild_tensor"): _tensor,
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Name("torch._utils", "_rebuild_tensor_v3"): _tensor,
    Name("torch._utils", "_rebuild_parameter"): _first,
    Name("torch.nn.parameter", "Parameter"): _first,
    Name("torch", "Size"): lambda sides=(): tuple(sides),
    Name("collections", "OrderedDict"): _mapping,
    Name("torch.nn.modules.container", "ParameterDict"): lambda *_: Parameters(),
}
"""What a name does when it is called: a function of this file, on data."""

INERT = {
    Name(module, name)
    for module, names in {
        "numpy.core.multiarray": ("scalar", "_reconstruct"),
        "numpy._core.multiarray": ("scalar", "_reconstruct"),
        "numpy": ("dtype", "ndarray"),
        "_codecs": ("encode",),
        "collections": ("defaultdict", "Counter"),
        "__builtin__": ("set", "frozenset", "dict", "list", "int", "float", "str"),
        "builtins": ("set", "frozenset", "dict", "list", "int", "float", "str"),
        "argparse": ("Namespace",),
        "torch": ("device",),
        "pytorch_lightning.callbacks.model_checkpoint": ("ModelCheckpoint",),
        "pytorch_lightning.callbacks.early_stopping": ("EarlyStopping",),
        "pytorch_lightning.utilities.enums": ("_FaultTolerantMode",),
    }.items()
    for name in names
}
"""What training programs leave beside the weights. These may stand in a file; nothing comes of them."""

KNOWN = {*CALLS, *INERT, *STORAGES, *DTYPES}

VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
IGNORED = {"PROTO", "FRAME"}


class Machine:
    """The stack machine, for one pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, file: BinaryIO) -> Any:
        """Return what the pickle at the position of `file` makes; leaves the position behind it."""
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return self.stack.pop()
            self._do(opcode.name, argument)
        raise Refused("a pickle without an end")

    def _do(self, name: str, argument: Any) -> None:
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name not in IGNORED:
            if (step := STEPS.get(name)) is None:
                raise Refused(f"the opcode {name}")
            step(self, argument)

    def items(self) -> list[Any]:
        """Take and return everything since the last mark."""
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def take(self, count: int) -> list[Any]:
        """Take and return the last `count` values."""
        if len(self.stack) - count < (self.marks[-1] if self.marks else 0):
            raise Refused("more values than there are")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def call(self, what: Any, arguments: Any) -> None:
        """Put what calling `what` gives: by the tables, which is all that can be called."""
        if isinstance(what, Inert) or (isinstance(what, Name) and what in INERT):
            self.stack.append(Inert())
        elif isinstance(what, Name) and what in CALLS and isinstance(arguments, tuple):
            self.stack.append(CALLS[what](*arguments))
        else:
            raise Refused(f"a call of {what if isinstance(what, Name) else type(what).__name__}")

    def name(self, module: Any, name: Any) -> Name:
        """Return the name, if it is known."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("a name that is no text")
        if (found := Name(module, name)) not in KNOWN:
            raise Refused(f"the name {found}")
        return found


def _global(machine: Machine, argument: str) -> None:
    machine.stack.append(machine.name(*_two(argument)))


def _two(argument: str) -> tuple[str, str]:
    module, _, name = argument.partition(" ")
    return module, name


def _stack_global(machine: Machine, _: Any) -> None:
    machine.stack.append(machine.name(*machine.take(2)))


def _inst(machine: Machine, argument: str) -> None:
    arguments = tuple(machine.items())
    machine.call(machine.name(*_two(argument)), arguments)


def _obj(machine: Machine, _: Any) -> None:
    what, *arguments = machine.items()
    machine.call(what, tuple(arguments))


def _newobj_ex(machine: Machine, _: Any) -> None:
    what, arguments, named = machine.take(3)
    if named:
        raise Refused("a call with named arguments")
    machine.call(what, arguments)


def _build(machine: Machine, _: Any) -> None:
    target, state = machine.take(2)
    if not isinstance(target, (Inert, dict)):  # a dictionary's own attributes, such as `_metadata`, say no weights
        raise Refused(f"a change of a {type(target).__name__}")
    if isinstance(target, Parameters) and isinstance(state, dict):
        target.update(_mapping(state.get("_parameters") or {}))
    machine.stack.append(target)


def _setitems(machine: Machine, pairs: list[Any]) -> None:
    (target,) = machine.take(1)
    machine.stack.append(target)
    if isinstance(target, Inert):
        return
    if not isinstance(target, dict) or len(pairs) % 2:
        raise Refused(f"items for a {type(target).__name__}")
    target.update(_mapping(list(zip(pairs[::2], pairs[1::2]))))  # noqa: B905 - an even number


def _append(machine: Machine, items: list[Any]) -> None:
    (target,) = machine.take(1)
    machine.stack.append(target)
    if isinstance(target, Inert):
        return
    if not isinstance(target, list):
        raise Refused(f"items for a {type(target).__name__}")
    target.extend(items)


def _dict(machine: Machine, _: Any) -> None:
    pairs = machine.items()
    machine.stack.append({})
    _setitems(machine, pairs)


def _inert(machine: Machine, _: Any) -> None:
    machine.items()
    machine.stack.append(Inert())


def _put(machine: Machine, index: Any) -> None:
    (value,) = machine.take(1)
    machine.stack.append(value)
    machine.memo[len(machine.memo) if index is None else index] = value


def _get(machine: Machine, index: Any) -> None:
    if index not in machine.memo:
        raise Refused(f"a value {index!r:.50} that was not kept")
    machine.stack.append(machine.memo[index])


def _pop(machine: Machine, _: Any) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.take(1)


def _dup(machine: Machine, _: Any) -> None:
    (value,) = machine.take(1)
    machine.stack += [value, value]


def _persistent(machine: Machine, _: Any) -> None:
    (told,) = machine.take(1)
    if not isinstance(told, tuple) or not 5 <= len(told) <= 6 or told[0] != "storage" or any(told[5:]):
        raise Refused(f"a reference that is no storage: {type(told).__name__}")
    _, kind, key, _, count = told[:5]
    if not isinstance(kind, Name) or kind not in STORAGES or not isinstance(key, str) or not _natural(count):
        raise Refused("a storage of no known kind")
    storage = Storage(STORAGES[kind], key, count)
    if machine.storages.setdefault(key, storage) != storage:
        raise Refused(f"two different storages {key!r:.50}")
    machine.stack.append(storage)


STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": _pop,
    "POP_MARK": lambda m, _: [m.items()].clear(),
    "DUP": _dup,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "INST": _inst,
    "OBJ": _obj,
    "REDUCE": lambda m, _: m.call(*m.take(2)),
    "NEWOBJ": lambda m, _: m.call(*m.take(2)),
    "NEWOBJ_EX": _newobj_ex,
    "BUILD": _build,
    "BINPERSID": _persistent,
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "DICT": _dict,
    "SETITEM": lambda m, _: _setitems(m, m.take(2)),
    "SETITEMS": lambda m, _: _setitems(m, m.items()),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "LIST": lambda m, _: m.stack.append(m.items()),
    "APPEND": lambda m, _: _append(m, m.take(1)),
    "APPENDS": lambda m, _: _append(m, m.items()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.items())),
    "TUPLE1": lambda m, _: m.stack.append(tuple(m.take(1))),
    "TUPLE2": lambda m, _: m.stack.append(tuple(m.take(2))),
    "TUPLE3": lambda m, _: m.stack.append(tuple(m.take(3))),
    "EMPTY_SET": lambda m, _: m.stack.append(Inert()),
    "ADDITEMS": lambda m, _: _append(m, m.items()),
    "FROZENSET": _inert,
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": lambda m, _: _put(m, None),
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
}
"""What the machine does for each opcode that does more than put a value. Those that are in no table are refused."""


@dataclass(frozen=True)
class Span:
    """Where a storage lies in the file, in bytes."""

    start: int
    size: int


def read_zip(file: BinaryIO) -> tuple[Any, dict[str, Span]]:
    """Return what the pickle in a zip of torch's makes, and where its storages lie."""
    members = _members(file, zipfile.ZipFile(file))
    if "data.pkl" not in members:
        raise Refused("a zip without data.pkl, which torch.save did not write")
    if "byteorder" in members and _bytes(file, members["byteorder"][0]) != b"little":
        raise Refused("numbers with the high byte first")
    span, checksum = members["data.pkl"]
    pickled = _bytes(file, span)
    if zlib.crc32(pickled) != checksum:
        raise Refused("a data.pkl that was changed: its checksum is another")
    made = Machine().run(io.BytesIO(pickled))
    return made, {name.removeprefix("data/"): span for name, (span, _) in members.items() if name.startswith("data/")}


def _members(file: BinaryIO, archive: zipfile.ZipFile) -> dict[str, tuple[Span, int]]:
    """Return where each member lies, by its name inside the one folder that there is, and its checksum."""
    members: dict[str, tuple[Span, int]] = {}
    root, end = None, 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        folder, _, name = info.filename.partition("/")
        root = folder if root is None else root
        if info.orig_filename != info.filename or folder != root or not MEMBER.fullmatch(name):
            raise Refused(f"the member {info.orig_filename!r:.100} of the archive, which holds no weights")
        if name in members:
            raise Refused(f"the member {info.filename!r:.100} twice")
        if info.header_offset < end or (not members and info.header_offset):
            raise Refused(f"the member {info.filename!r:.100} over another, or something before the archive")
        span = _span(file, info)
        members[name], end = (span, info.CRC), span.start + span.size
    if end > archive.start_dir:
        raise Refused("members over the archive's own list")
    return members


def _bytes(file: BinaryIO, span: Span) -> bytes:
    if span.size > MAX_PICKLE_BYTES:
        raise Refused(f"a member of {span.size} bytes to read at once; {MAX_PICKLE_BYTES} are the most")
    file.seek(span.start)
    return file.read(span.size)


def _span(file: BinaryIO, info: zipfile.ZipInfo) -> Span:
    """Return where a member's bytes lie, after comparing its own header with the archive's list."""
    if info.flag_bits & 0x41 or info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise Refused(f"the member {info.filename!r:.100}, which is encrypted or compressed; torch.save does neither")
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise Refused(f"the member {info.filename!r:.100}, which is not where the archive says")
    flags, method = struct.unpack("<HH", header[6:10])
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    if flags != info.flag_bits or method or file.read(name_length) != info.filename.encode("utf-8"):
        raise Refused(f"the member {info.filename!r:.100}, which its own header describes otherwise")
    return Span(info.header_offset + 30 + name_length + extra_length, info.file_size)


def read_old(file: BinaryIO) -> tuple[Any, dict[str, Span]]:
    """Return what the pickles of a file from before torch 1.6 make, and where its storages lie."""
    if Machine().run(file) != OLD_MAGIC or Machine().run(file) != OLD_PROTOCOL:
        raise Refused("a pickle that torch.save did not write")
    system, machine = Machine().run(file), Machine()
    if not isinstance(system, dict) or not system.get("little_endian"):
        raise Refused("numbers with the high byte first")
    made, keys = machine.run(file), Machine().run(file)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in machine.storages for key in keys):
        raise Refused("a list of storages that are not the pickle's")
    spans: dict[str, Span] = {}
    for key in keys:
        storage, count = machine.storages[key], int.from_bytes(file.read(8), "little")
        if count != storage.count or key in spans:
            raise Refused(f"a storage {key!r:.50} of {count} numbers, not {storage.count}")
        spans[key] = Span(file.tell(), count * SIZES[storage.dtype])
        file.seek(spans[key].size, os.SEEK_CUR)
    return made, spans


FORMATS = {"zip": read_zip, "pickle": read_old}


def describe(made: Any, spans: dict[str, Span], size: int) -> dict[str, Any]:
    """Return where each tensor lies: {"tensors": name -> [dtype, shape, strides, start, end], "metadata": ...}."""
    if not isinstance(made, dict):
        raise Refused(f"a {type(made).__name__} where a dictionary of tensors should be")
    inner = made.get("state_dict")
    root = inner if isinstance(inner, dict) else made
    tensors: dict[str, Any] = {}
    for name, tensor in _flat(root):
        if name in tensors:
            raise Refused(f"the name {name!r:.100} twice")
        tensors[name] = _place(name, tensor, spans, size)
    if not tensors:
        raise Refused("no tensors at all")
    plain = {k: v for k, v in made.items() if isinstance(k, str) and isinstance(v, (str, int, float, bool))}
    return {"tensors": tensors, "metadata": {key: f"{value}"[:1000] for key, value in plain.items()}}


def _flat(root: dict[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in dictionaries in dictionaries, by their keys with dots between."""
    todo, seen = [("", root, 0)], {id(root)}
    while todo:
        prefix, mapping, depth = todo.pop()
        for key, value in mapping.items():
            if isinstance(value, Tensor):
                yield f"{prefix}{key}" if isinstance(key, (str, int)) else _no_name(key), value
            elif isinstance(value, dict) and value:
                if id(value) in seen or depth == MAX_DEPTH:
                    raise Refused("dictionaries within one another without end")
                seen.add(id(value))
                todo.append(
                    (f"{prefix}{key if isinstance(key, (str, int)) else type(key).__name__}.", value, depth + 1)
                )


def _no_name(key: Any) -> str:
    raise Refused(f"a tensor called by a {type(key).__name__}")


def _place(name: str, tensor: Tensor, spans: dict[str, Span], size: int) -> list[Any]:
    span, item = spans.get(tensor.storage.key), SIZES[tensor.dtype]
    needed = tensor.storage.count * SIZES[tensor.storage.dtype]
    if span is None or needed > span.size or span.start + span.size > size:
        raise Refused(f"the tensor {name!r:.100}, whose numbers are not in the file")
    start = span.start + tensor.offset * item
    return [tensor.dtype, tensor.shape, _strides(tensor), start, start + _extent(tensor) * item]


def _strides(tensor: Tensor) -> tuple[int, ...] | None:
    """Return the strides, None for numbers that simply follow one another."""
    expected = 1
    for side, stride in zip(reversed(tensor.shape), reversed(tensor.strides)):  # noqa: B905 - checked
        if side != 1 and stride != expected:
            return tensor.strides if 0 not in tensor.shape else None
        expected *= side
    return None


def limit(seconds: int, memory: int) -> None:
    """Give up all that reading does not need: no more files or connections, no writing, little time and memory."""
    for name in ("ascii", "latin-1", "utf-8", "cp437", "raw_unicode_escape", "unicode_escape"):
        codecs.lookup(name)  # imported now, since no file can be opened later
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    limits = {"NOFILE": 0, "FSIZE": 0, "NPROC": 0, "CORE": 0, "CPU": seconds, "AS": memory}
    for kind, value in limits.items():
        number = getattr(resource, f"RLIMIT_{kind}", None)
        try:
            if number is not None:
                resource.setrlimit(number, (value, value))
        except (ValueError, OSError):  # macOS refuses some
            continue


def main(words: list[str]) -> None:
    """Read standard input as the format `words[0]` within `words[1]` seconds and `words[2]` bytes."""
    with open(0, "rb", closefd=False) as file:
        limit(int(words[1]), int(words[2]))
        try:
            made, spans = FORMATS[words[0]](file)
            answer = describe(made, spans, os.fstat(0).st_size)
        except Refused as problem:
            answer = {"refused": str(problem)}
        except Exception as problem:  # whatever a broken file brings about
            answer = {"broken": f"{type(problem).__name__}: {problem!s:.200}"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
