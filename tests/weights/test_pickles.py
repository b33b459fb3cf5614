"""What torch.save wrote: read as torch reads it, and nothing that a file brings along ever runs.

Every hostile file would make a canary file, or would have it made. None may ever be there.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import NotFound, UnreadableWeights
from impasto.weights import pickle_reader, pickles
from impasto.weights.containers import open_tensors

STRICT = pickles.Limits(seconds=5, memory=512 << 20, wall=300)


def torch_zip(path: Path, pickled: bytes, members: dict[str, bytes] | None = None) -> None:
    """Write an archive as torch.save does, with two storages of 16 float32."""
    standard = {
        "data.pkl": pickled,
        "byteorder": b"little",
        "data/0": bytes(64),
        "data/2": bytes(64),
        "version": b"3\n",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {**standard, **(members or {})}.items():
            archive.writestr(f"archive/{name}", content)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def name(module: str, what: str) -> bytes:
    return f"c{module}\n{what}\n".encode()


def storage(kind: str = "FloatStorage", key: str = "0", count: int = 16) -> bytes:
    return b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + integer(count) + b"tQ"


def integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def integers(*values: int) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(
    shape: bytes = integers(2, 3), strides: bytes = integers(3, 1), offset: bytes = integer(0), held: bytes = b""
) -> bytes:
    arguments = b"(" + (held or storage()) + offset + shape + strides + b"\x89" + name("collections", "OrderedDict")
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b")RtR"


def of(value: bytes, protocol: int = 2) -> bytes:
    """Return the pickle of {"x": a good tensor, "y": `value`}."""
    return b"\x80" + bytes([protocol]) + b"}(" + text("x") + tensor() + text("y") + value + b"u."


class Gadget:
    """Is pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def called(module: str, what: str, *arguments: Any) -> Callable[[str], bytes]:
    """Return a value that is a call of `module.what`; `CANARY` in an argument becomes the canary's path."""

    def build(canary: str) -> bytes:
        filled = [
            argument.replace("CANARY", canary) if isinstance(argument, str) else argument for argument in arguments
        ]
        values = b"".join(text(a) if isinstance(a, str) else pickle.dumps(a, 2)[2:-1] for a in filled)
        return name(module, what) + b"(" + values + b"tR"

    return build


TOUCH, OPEN = "touch CANARY", "open('CANARY', 'w')"

CALLS: dict[str, Callable[[str], bytes]] = {
    "os.system": called("os", "system", TOUCH),
    "posix.system": called("posix", "system", TOUCH),
    "nt.system": called("nt", "system", TOUCH),
    "os.popen": called("os", "popen", TOUCH),
    "os.execv": called("os", "execv", "/usr/bin/touch", ["touch", "CANARY"]),
    "os.spawnlp": called("os", "spawnlp", 0, "touch", "touch", "CANARY"),
    "subprocess.Popen": called("subprocess", "Popen", "touch CANARY"),
    "subprocess.check_output": called("subprocess", "check_output", ["touch", "CANARY"]),
    "eval": called("builtins", "eval", OPEN),
    "eval of Python 2": called("__builtin__", "eval", OPEN),
    "exec": called("builtins", "exec", OPEN),
    "open": called("builtins", "open", "CANARY", "w"),
    "io.open": called("io", "open", "CANARY", "w"),
    "compile": called("builtins", "compile", OPEN, "x", "exec"),
    "getattr": called("builtins", "getattr", "x", "upper"),
    "__import__": called("builtins", "__import__", "antigravity"),
    "importlib.import_module": called("importlib", "import_module", "antigravity"),
    "runpy.run_path": called("runpy", "run_path", "CANARY"),
    "pickle.loads": called("pickle", "loads", pickle.dumps(Gadget(print, 1))),
    "_pickle.loads": called("_pickle", "loads", pickle.dumps(Gadget(print, 1))),
    "torch.load": called("torch", "load", "CANARY"),
    "torch.storage._load_from_bytes": called("torch.storage", "_load_from_bytes", b"x"),
    "torch.hub.load": called("torch.hub", "load", "CANARY", "x"),
    "numpy.load": called("numpy", "load", "CANARY"),
    "functools.partial": called("functools", "partial", print, 1),
    "operator.attrgetter": called("operator", "attrgetter", "__globals__"),
    "operator.methodcaller": called("operator", "methodcaller", "system", TOUCH),
    "types.CodeType": called("types", "CodeType", 0),
    "types.FunctionType": called("types", "FunctionType", 0),
    "marshal.loads": called("marshal", "loads", b"x"),
    "ctypes.CDLL": called("ctypes", "CDLL", "CANARY"),
    "code.interact": called("code", "interact", "x"),
    "pty.spawn": called("pty", "spawn", "touch"),
    "pip.main": called("pip", "main", ["install", "x"]),
    "shutil.copyfile": called("shutil", "copyfile", "/etc/hosts", "CANARY"),
    "pathlib.Path": called("pathlib", "Path", "CANARY"),
    "socket.create_connection": called("socket", "create_connection", ("192.0.2.1", 1)),
    "webbrowser.open": called("webbrowser", "open", "http://192.0.2.1/"),
    "logging.FileHandler": called("logging", "FileHandler", "CANARY"),
    "copyreg._reconstructor": called("copyreg", "_reconstructor", int, int, 0),
    "bdb.Bdb": called("bdb", "Bdb"),
    "impasto itself": called("impasto.files", "write_text", "CANARY", "x"),
}
"""Calls of names that have no business in weights."""

OPCODES: dict[str, bytes] = {
    "a dotted name": stack_global("torch._utils", "_rebuild_tensor_v2.__globals__") + b"0N",
    "a dotted name from the allowed": stack_global("collections", "OrderedDict.fromkeys") + b")R",
    "a module in a module": stack_global("torch", "os.system") + b"(" + text(TOUCH) + b"tR",
    "an allowed name in another module": stack_global("evil", "OrderedDict") + b")R",
    "an allowed name in another case": stack_global("collections", "ordereddict") + b")R",
    "a name with a space": stack_global("collections", "OrderedDict system") + b")R",
    "a name that is no text": integer(1) + text("system") + b"\x93",
    "a name of bytes": b"C\x02os" + text("system") + b"\x93",
    "inst": b"(" + text(TOUCH) + b"ios\nsystem\n",
    "obj": b"(" + name("os", "system") + text(TOUCH) + b"o",
    "newobj": name("os", "system") + b"(" + text(TOUCH) + b"t\x81",
    "newobj_ex": name("os", "system") + b"(" + text(TOUCH) + b"t}\x92",
    "newobj_ex with names": name("collections", "OrderedDict") + b")}" + text("a") + b"K\x01s\x92",
    "a call of text": text("os.system") + b"(" + text(TOUCH) + b"tR",
    "a call of a storage": storage() + b")R",
    "a call of a dtype": name("torch", "float32") + b")R",
    "a call with a list": name("collections", "OrderedDict") + b"]R",
    "a call of a dictionary": b"})R",
    "a changed tensor": tensor() + b"}" + text("__class__") + name("collections", "OrderedDict") + b"sb",
    "a changed name": name("collections", "OrderedDict") + b"}" + text("update") + b"Nsb",
    "a changed list": b"]}b",
    "a reference of text": text("os.system") + b"Q",
    "a reference of the first protocol": b"Pos.system\n",
    "a reference to another kind": b"(" + text("module") + name("torch", "FloatStorage") + b"NNNtQ",
    "a storage of a foreign kind": b"(" + text("storage") + name("collections", "OrderedDict") + b"NNNtQ",
    "a storage without a key": b"(" + text("storage") + name("torch", "FloatStorage") + b"N" + text("cpu") + b"K\x10tQ",
    "a storage called by a path": tensor(held=storage(key="../../version")),
    "a storage twice unlike": storage() + b"0" + storage(count=8),
    "a part of a storage": b"("
    + text("storage")
    + name("torch", "FloatStorage")
    + text("0")
    + text("cpu")
    + b"K\x10K\x01tQ",
    "the extension registry": b"\x82\x01",
    "the extension registry, 4 bytes": b"\x84\xf0\x00\x00\x00",
    "a buffer from outside": b"\x97",
    "an unknown opcode": b"\xff",
    "no value where one is needed": b"00000000",
    "a mark that was never set": b"t",
    "a value taken over a mark": b"(\x86",
    "a memory that was never filled": b"h\x07",
    "a text longer than the file": b"\x8d" + struct.pack("<Q", 2**60),
    "bytes longer than the file": b"\x8e" + struct.pack("<Q", 2**62),
    "a number longer than the file": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "a number of a negative length": b"\x8b" + struct.pack("<i", -1),
    "a number of many digits": b"I" + b"9" * 100_000 + b"\n",
    "items for a tensor": tensor() + text("a") + text("b") + b"s",
    "items of an odd number": b"}(" + text("a") + b"u",
    "a key that is a tensor": b"}" + tensor() + b"Ns",
    "a key of tuples within tuples": b"}" + b")" + b"\x85" * 100_000 + b"Ns",
    "a key that takes for ever to hash": b"}" + b")" + b"2\x86" * 200 + b"Ns",
    "a dictionary in itself": b"}q\x63" + text("a") + b"h\x63s",
    "dictionaries ten deep": b"".join(b"}" + text("a") for _ in range(10)) + tensor() + b"s" * 10,
    "the same dictionary twice": b"}(" + text("a") + b"}q\x63" + text("t") + tensor() + b"s" + text("b") + b"h\x63u",
    "a value beyond the end of its storage": tensor(integers(4, 5), integers(5, 1)),
    "an offset beyond the end": tensor(offset=integer(11)),
    "a negative offset": tensor(offset=integer(-1)),
    "a negative stride": tensor(strides=integers(-3, 1)),
    "a negative side": tensor(shape=integers(-2, 3)),
    "a huge stride": tensor(strides=integers(2**62, 1)),
    "sides that overflow": tensor(integers(2**40, 2**40), integers(0, 2**50)),
    "more sides than strides": tensor(shape=integers(2, 3, 1)),
    "a hundred sides": tensor(integers(*[1] * 100), integers(*[1] * 100)),
    "sides that are true": tensor(shape=b"(\x88\x88t"),
    "sides that are text": tensor(shape=text("23")),
    "a storage larger than its member": tensor(held=storage(key="2", count=17)),
    "a storage of wider numbers than its member": tensor(held=storage("DoubleStorage", "2")),
    "a storage that is not there": tensor(held=storage(key="1")),
    "a tensor without a storage": tensor(held=b"N"),
    "no tensors": b"",
}
"""Values that a pickle should not have."""


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def refuse(path: Path, canary: Path, limits: pickles.Limits = STRICT) -> UnreadableWeights:
    with pytest.raises(UnreadableWeights) as caught:
        pickles.load(path, limits)
    assert not canary.exists()
    assert path.name in str(caught.value)
    assert len(str(caught.value)) < 1000
    return caught.value


@pytest.mark.parametrize("gadget", CALLS)
def test_no_call_of_a_foreign_name(tmp_path: Path, canary: Path, gadget: str) -> None:
    torch_zip(tmp_path / "model.ckpt", of(CALLS[gadget](str(canary))))
    module = CALLS[gadget]("").split(b"\n")[0][1:].decode()
    assert module in str(refuse(tmp_path / "model.ckpt", canary))


@pytest.mark.parametrize("case", OPCODES)
def test_no_abuse_of_an_opcode(tmp_path: Path, canary: Path, case: str) -> None:
    value = OPCODES[case].replace(b"CANARY", b"canary")
    pickled = b"\x80\x02}." if case == "no tensors" else of(value)
    torch_zip(tmp_path / "model.ckpt", pickled)
    refuse(tmp_path / "model.ckpt", canary)


def test_the_gadgets_work_elsewhere(canary: Path) -> None:
    pickle.loads(b"\x80\x02" + called("posix", "system", TOUCH)(str(canary)) + b".")
    assert canary.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_gadgets_of_every_protocol(tmp_path: Path, canary: Path, protocol: int) -> None:
    torch_zip(tmp_path / "model.ckpt", pickle.dumps({"x": Gadget(exec, f"open({str(canary)!r}, 'w')")}, protocol))
    assert "exec" in str(refuse(tmp_path / "model.ckpt", canary))


def test_a_gadget_inside_what_is_not_looked_at(tmp_path: Path, canary: Path) -> None:
    inert = name("numpy.core.multiarray", "scalar") + b"(" + called("os", "system", TOUCH)(str(canary)) + b"tR"
    torch_zip(tmp_path / "model.ckpt", of(inert))
    assert "os" in str(refuse(tmp_path / "model.ckpt", canary))


def test_a_truncated_pickle(tmp_path: Path, canary: Path) -> None:
    whole = of(b"N")
    for length in range(0, len(whole), 23):
        torch_zip(tmp_path / "model.ckpt", whole[:length])
        refuse(tmp_path / "model.ckpt", canary)


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch_zip(path, of(b"N"))
        path.write_bytes(change(path.read_bytes()))

    return write


def members(**options: Any) -> Callable[[Path], None]:
    return lambda path: torch_zip(path, of(b"N"), {key.replace("__", "/"): value for key, value in options.items()})


def compressed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", of(b"N"))
        archive.writestr("archive/data/0", bytes(50_000_000))


def twice(path: Path) -> None:
    torch_zip(path, of(b"N"))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", of(b"N"))


def bare(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for member in names:
            archive.writestr(member, of(b"N"))


def overlapping(path: Path) -> None:
    """Let the archive's list give `version` the place of `data/0`."""
    torch_zip(path, of(b"N"))
    with zipfile.ZipFile(path) as archive:
        offsets = {info.filename: info.header_offset for info in archive.infolist()}
    old, new = (struct.pack("<I", offsets[f"archive/{key}"]) + b"archive/" for key in ("version", "data/0"))
    path.write_bytes(path.read_bytes().replace(old + b"version", new + b"version"))


def flagged(flag: int) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00" + bytes([flag])).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00" + bytes([flag])
    )


ARCHIVES: dict[str, Callable[[Path], None]] = {
    "compressed, which is how zip bombs are made": compressed,
    "encrypted": rewritten(flagged(1)),
    "encrypted strongly": rewritten(flagged(0x41)),
    "said to be encrypted by one of two headers": rewritten(
        lambda data: data.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01")
    ),
    "a member twice": twice,
    "members over one another": overlapping,
    "truncated": rewritten(lambda data: data[:-30]),
    "cut in the middle": rewritten(lambda data: data[: len(data) // 2]),
    "something before it": rewritten(lambda data: b"MZ" + bytes(100) + data),
    "a member under two names": rewritten(lambda data: data.replace(b"archive/version", b"archive/data/12", 1)),
    "a changed pickle": rewritten(lambda data: data.replace(b"storage", b"STORAGE", 1)),
    "a path upwards": lambda path: bare(path, "archive/data.pkl", "archive/../../canary"),
    "an absolute path": lambda path: bare(path, "archive/data.pkl", "/archive/version"),
    "a path of Windows": lambda path: bare(path, "archive/data.pkl", "archive\\..\\canary"),
    "two roots": lambda path: bare(path, "archive/data.pkl", "other/data.pkl"),
    "no root": lambda path: bare(path, "data.pkl"),
    "no pickle": lambda path: bare(path, "archive/version"),
    "an empty archive": lambda path: bare(path),
    "code of TorchScript": members(**{"code____torch__.py": b"import os"}),
    "constants of TorchScript": members(**{"constants.pkl": b"\x80\x02}."}),
    "a program beside the weights": members(**{"run.py": b"import os"}),
    "another storage's name": members(**{"data__0x1": bytes(4)}),
    "the high byte first": members(byteorder=b"big"),
    "a storage cut short": members(**{"data__0": bytes(60)}),
}
"""Archives that torch.save does not write."""


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # byteorder and data/0 are written anew on purpose
@pytest.mark.parametrize("case", ARCHIVES)
def test_no_archive_that_torch_does_not_write(tmp_path: Path, canary: Path, case: str) -> None:
    ARCHIVES[case](tmp_path / "model.ckpt")
    refuse(tmp_path / "model.ckpt", canary)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is not limited")
def test_what_takes_too_much_is_stopped(tmp_path: Path, canary: Path) -> None:
    forever = b"]" + b"q\x10" + (b"(" + b"h\x10" * 1000 + b"l0") * 1 + b"(" + b"N" * 30_000_000 + b"t"
    torch_zip(tmp_path / "model.ckpt", of(forever))
    refuse(tmp_path / "model.ckpt", canary, pickles.Limits(seconds=1, memory=128 << 20, wall=300))


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of Linux")
def test_the_reader_can_open_nothing() -> None:
    program = """
import runpy, socket, subprocess, sys
reader = runpy.run_path(sys.argv[1])
reader["limit"](60, 1 << 30)
run, write = lambda: subprocess.run(["true"]), lambda: open(sys.argv[2], "w")
for attempt in (lambda: open(sys.argv[1]), write, socket.socket, run):
    try:
        attempt()
    except OSError:
        continue
    print("it could", attempt)
print("done")
"""
    words = [sys.executable, "-I", "-S", "-c", program, str(pickles.READER), str(pickles.READER) + ".canary"]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.stdout.split("\n") == ["done", ""], run.stderr


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_weights_are_read_as_torch_reads_them(tmp_path: Path, old: bool, protocol: int) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    wanted = OrderedDict(
        {
            "whole": base,
            "transposed": base.t(),
            "part": base[1:3, 2:5],
            "repeated": torch.ones(1).expand(3),
            "scalar": torch.tensor(3.5),
            "empty": torch.zeros(0, 4),
            "half": torch.randn(3).half(),
            "bfloat16": torch.randn(3).bfloat16(),
            "double": torch.randn(3).double(),
            "ids": torch.arange(5),
            "mask": torch.tensor([True, False]),
            "bytes": torch.tensor([1, 2], dtype=torch.uint8),
            "parameter": torch.nn.Parameter(torch.ones(2)),
        }
    )
    path = tmp_path / "weights.pt"
    torch.save(wanted, path, _use_new_zipfile_serialization=not old, pickle_protocol=protocol)
    got, theirs = open_tensors(path), torch.load(path, weights_only=protocol == 2)  # not made for others
    assert set(got) == set(theirs)
    for key, value in theirs.items():
        for tensor_ in (got[key], got.read(key)):
            assert tensor_.dtype == value.dtype
            assert torch.equal(tensor_, value)
    assert got.digest({"part": "part"}) == got.digest({"part": "part"})


def test_a_module_saved_with_its_history(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    torch.save(module.state_dict(), tmp_path / "weights.pt")  # an ordered dictionary with `_metadata`
    assert set(open_tensors(tmp_path / "weights.pt")) == set(module.state_dict())


def test_what_training_leaves_beside_the_weights(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(
        {
            "state_dict": {"a.weight": torch.ones(2)},
            "global_step": 470_000,
            "pytorch-lightning_version": "1.4.2",
            "callbacks": {"best": np.float64(0.5), "seen": {1, 2}},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
        },
        buffer,
    )
    (tmp_path / "model.ckpt").write_bytes(buffer.getvalue())
    file = open_tensors(tmp_path / "model.ckpt")
    assert {key: value.tolist() for key, value in file.items()} == {"a.weight": [1.0, 1.0]}
    assert file.metadata == {"global_step": "470000", "pytorch-lightning_version": "1.4.2"}


def test_a_class_as_a_key(tmp_path: Path) -> None:
    key = name("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    torch_zip(tmp_path / "model.ckpt", of(b"}" + key + b"}s"))
    assert list(open_tensors(tmp_path / "model.ckpt")) == ["x"]


def test_dictionaries_within_are_named_with_dots(tmp_path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.ones(1, 3)}, "name": "cat", "step": 5}, tmp_path / "cat.pt")
    file = open_tensors(tmp_path / "cat.pt")
    assert file["string_to_param.*"].shape == (1, 3)
    assert file.metadata == {"name": "cat", "step": "5"}


@pytest.mark.parametrize("value", [torch.ones(1), [torch.ones(1)], {"x": 1}, torch.nn.Linear(1, 1)], ids=str)
def test_what_is_no_dictionary_of_tensors(tmp_path: Path, canary: Path, value: Any) -> None:
    torch.save(value, tmp_path / "model.ckpt")
    refuse(tmp_path / "model.ckpt", canary)


@pytest.mark.parametrize("length", [3, 40, 200, -1])
def test_a_truncated_old_file(tmp_path: Path, length: int) -> None:
    torch.save({"x": torch.ones(5)}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:length])
    with pytest.raises(UnreadableWeights):
        open_tensors(tmp_path / "x.pt")


def test_an_old_file_with_a_gadget(tmp_path: Path, canary: Path) -> None:
    torch.save(Gadget(exec, f"open({str(canary)!r}, 'w')"), tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(UnreadableWeights, match="exec"):
        open_tensors(tmp_path / "x.pt")
    assert not canary.exists()


def test_a_plain_pickle_is_no_weights(tmp_path: Path, canary: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Gadget(exec, f"open({str(canary)!r}, 'w')")))
    with pytest.raises(UnreadableWeights, match="exec"):
        open_tensors(tmp_path / "x.pkl")
    assert not canary.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        pickles.load(tmp_path / "nowhere.ckpt")


PLAIN = (type(None), bool, int, float, str, bytes, bytearray, tuple, list, dict)
OURS = (pickle_reader.Name, pickle_reader.Inert, pickle_reader.Storage, pickle_reader.Tensor)
SEED = of(CALLS["os.system"]("canary"))


@given(st.data())
def test_a_changed_pickle_makes_plain_data_or_nothing(data: st.DataObject) -> None:
    """Bytes of a pickle changed and left out: whatever it then is, the machine knows no other kinds of things."""
    pickled = bytearray(data.draw(st.sampled_from([SEED, of(b"N"), of(name("collections", "OrderedDict") + b")R")])))
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(pickled) - 1))
        pickled[where : where + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    machine = pickle_reader.Machine()
    with contextlib.suppress(Exception):
        machine.stack.append(machine.run(io.BytesIO(bytes(pickled))))
    kinds = {type(value) for value in [*machine.stack, *machine.memo.values()]}
    assert kinds <= {*PLAIN, *OURS}
