"""Safetensors files, against the safetensors library and against malformed headers."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import ImpastoError, InvalidInput, NotFound, UnreadableWeights
from impasto.weights import files


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    result = {
        "b.weight": torch.randn(3, 5, generator=generator),
        "a": torch.randn(7, generator=generator).half(),
        "half": torch.randn(2, 2, generator=generator).bfloat16(),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "ids": torch.arange(5),
        "mask": torch.tensor([True, False, True]),
        "ünï.код": torch.ones(1, dtype=torch.uint8),
    }
    result["strided"] = torch.arange(12.0).reshape(3, 4).t()
    return result


def assert_equal(got: Any, wanted: dict[str, torch.Tensor]) -> None:
    assert set(got) == set(wanted)
    for name, tensor in wanted.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor)


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    files.save(tmp_path / "x.safetensors", tensors(), {"made by": "hand", "é": "ü"})
    file = files.load(tmp_path / "x.safetensors")
    assert_equal(file, tensors())
    assert file.metadata == {"made by": "hand", "é": "ü"}


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    files.save(tmp_path / "x.safetensors", tensors(), {"k": "v"})
    assert_equal(safetensors.torch.load_file(tmp_path / "x.safetensors"), tensors())


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    wanted = {name: tensor.contiguous() for name, tensor in tensors().items()}
    safetensors.torch.save_file(wanted, tmp_path / "x.safetensors", metadata={"k": "v"})
    file = files.load(tmp_path / "x.safetensors")
    assert_equal(file, wanted)
    assert file.metadata == {"k": "v"}


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    files.save(tmp_path / "a", tensors(), {"a": "1", "b": "2"})
    files.save(tmp_path / "b", dict(reversed(tensors().items())), {"b": "2", "a": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_made_one_at_a_time_give_the_same_file_or_none(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3), "b": torch.randn(2, 2).half(), "c": torch.arange(4)}
    outlines = {name: tensor.to("meta") for name, tensor in tensors.items()}
    files.save(tmp_path / "whole", tensors, {"x": "y"})

    names = list(files.saving(tmp_path / "pieces", outlines, tensors.__getitem__, {"x": "y"}))
    given_up = files.saving(tmp_path / "given up", outlines, tensors.__getitem__)
    next(given_up)
    given_up.close()

    content = (tmp_path / "whole").read_bytes()
    assert (tmp_path / "pieces").read_bytes() == content
    assert sorted(names) == ["a", "b", "c"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pieces", "whole"]
    header = int.from_bytes(content[:8], "little")
    assert files.data_sha256(tensors) == hashlib.sha256(content[8 + header :]).hexdigest()


def test_changing_a_tensor_leaves_the_file_alone(tmp_path: Path) -> None:
    files.save(tmp_path / "x", tensors())
    before = (tmp_path / "x").read_bytes()
    files.load(tmp_path / "x")["b.weight"].zero_()
    assert (tmp_path / "x").read_bytes() == before


def test_a_copy_is_not_tied_to_the_mapping(tmp_path: Path) -> None:
    files.save(tmp_path / "x", tensors())
    file = files.load(tmp_path / "x")
    file["b.weight"].zero_()
    assert torch.equal(file.read("b.weight"), tensors()["b.weight"])


def test_unaligned_tensors_are_read(tmp_path: Path) -> None:
    header = {
        "m": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "x": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }
    write_raw(tmp_path / "x", header, b"\x07" + struct.pack("<2f", 1.5, -2.0))
    assert files.load(tmp_path / "x")["x"].tolist() == [1.5, -2.0]


def test_digest_ignores_header_and_order_but_nothing_else(tmp_path: Path) -> None:
    wanted = files.tensors_digest(tensors())
    files.save(tmp_path / "ours", tensors(), {"anything": "else"})
    safetensors.torch.save_file({n: t.contiguous() for n, t in tensors().items()}, tmp_path / "theirs")
    assert files.load(tmp_path / "ours").digest() == files.load(tmp_path / "theirs").digest() == wanted
    assert files.tensors_digest(files.load(tmp_path / "ours")) == wanted
    changed = tensors()
    changed["b.weight"][0, 0] += 1
    renamed = {("c" if name == "a" else name): tensor for name, tensor in tensors().items()}
    reshaped = {**tensors(), "a": tensors()["a"].reshape(7, 1)}
    recast = {**tensors(), "mask": tensors()["mask"].to(torch.uint8)}
    digests = {files.tensors_digest(t) for t in (tensors(), changed, renamed, reshaped, recast)}
    assert len(digests) == 5


def test_digest_under_other_names(tmp_path: Path) -> None:
    files.save(tmp_path / "x", {"model.a": torch.ones(2), "model.b": torch.zeros(3)})
    file = files.load(tmp_path / "x")
    assert file.digest({"a": "model.a", "b": "model.b"}) == files.tensors_digest(
        {"a": torch.ones(2), "b": torch.zeros(3)}
    )


@pytest.mark.parametrize(
    ("tensors_", "metadata"),
    [
        ({"__metadata__": torch.ones(1)}, {}),
        ({"x": torch.ones(1, dtype=torch.complex64)}, {}),
        ({"x": torch.ones(1)}, {"steps": 3}),
    ],
)
def test_refuses_to_write_what_the_format_cannot_carry(
    tmp_path: Path, tensors_: dict[str, torch.Tensor], metadata: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        files.save(tmp_path / "x", tensors_, metadata)
    assert list(tmp_path.iterdir()) == []


def write_raw(path: Path, header: Any, data: bytes, length: int | None = None) -> None:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content) if length is None else length) + content + data)


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


EIGHT = bytes(8)

MALFORMED: dict[str, tuple[Any, bytes, int | None]] = {
    "header longer than the file": ({"x": entry()}, EIGHT, 10_000),
    "header beyond the limit": ({"x": entry()}, EIGHT, 2**40),
    "header of all ones": ({"x": entry()}, EIGHT, 2**64 - 1),
    "no header at all": (b"", b"", 0),
    "not JSON": (b"{nonsense", EIGHT, None),
    "not UTF-8": (b'{"\xff": 1}', EIGHT, None),
    "an array": ([1, 2], EIGHT, None),
    "leading space": (b" " + json.dumps({"x": entry()}).encode(), EIGHT, None),
    "deeply nested": (b'{"x":' * 100_000, b"", None),
    "a number of many digits": (
        b'{"x": {"dtype": "U8", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 8]}}',
        EIGHT,
        None,
    ),
    "the same name twice": (b'{"x": 1, "x": 1}', EIGHT, None),
    "the same field twice": (
        b'{"x": {"dtype": "U8", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        EIGHT,
        None,
    ),
    "an entry that is no object": ({"x": [0, 8]}, EIGHT, None),
    "a missing field": ({"x": {"dtype": "F32", "shape": [2]}}, EIGHT, None),
    "an unknown field": ({"x": {**entry(), "more": 1}}, EIGHT, None),
    "an unknown dtype": ({"x": entry(dtype="F5")}, EIGHT, None),
    "a dtype that is no string": ({"x": entry(dtype=["F32"])}, EIGHT, None),
    "a negative side": ({"x": entry(shape=[-1, -2])}, EIGHT, None),
    "a side that is true": ({"x": entry(shape=[True, 2])}, EIGHT, None),
    "a broken side": ({"x": entry(shape=[2.0])}, EIGHT, None),
    "a shape that is no list": ({"x": entry(shape=2)}, EIGHT, None),
    "sides that overflow": ({"x": entry(shape=[0, 2**62, 2**62], offsets=[0, 0])}, b"", None),
    "a size unlike its shape": ({"x": entry(shape=[3])}, EIGHT, None),
    "three offsets": ({"x": entry(offsets=[0, 8, 8])}, EIGHT, None),
    "offsets in reverse": ({"x": entry(offsets=[8, 0])}, EIGHT, None),
    "offsets beyond the file": ({"x": entry(offsets=[8, 16])}, EIGHT, None),
    "a hole at the start": ({"x": entry(offsets=[4, 12])}, bytes(12), None),
    "a hole between": ({"x": entry(), "y": entry(offsets=[9, 17])}, bytes(17), None),
    "an overlap": ({"x": entry(), "y": entry(offsets=[4, 12])}, bytes(12), None),
    "two names for the same bytes": ({"x": entry(), "y": entry()}, EIGHT, None),
    "bytes left over": ({"x": entry()}, bytes(9), None),
    "bytes missing": ({"x": entry()}, bytes(7), None),
    "metadata that are no strings": ({"__metadata__": {"n": 1}, "x": entry()}, EIGHT, None),
    "metadata that are no object": ({"__metadata__": "n", "x": entry()}, EIGHT, None),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x.safetensors"
    write_raw(path, *MALFORMED[case])
    with pytest.raises(UnreadableWeights, match=r"x\.safetensors is not a well-formed"):
        files.load(path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"PK\x03\x04" + bytes(100)])
def test_short_and_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UnreadableWeights):
        files.load(tmp_path / "x")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        files.load(tmp_path / "nowhere")


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="directory"):
        files.load(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*files.DTYPES, "F9"]) | JSON,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | JSON,
        "data_offsets": st.tuples(st.integers(-1, 40), st.integers(-1, 40)) | JSON,
    }
)


@given(
    header=st.binary(max_size=60)
    | st.dictionaries(st.text(max_size=5) | st.just("__metadata__"), ENTRY | JSON, max_size=3),
    data=st.binary(max_size=40),
)
def test_any_content_loads_or_is_refused_and_agrees_with_the_library(
    tmp_path_factory: pytest.TempPathFactory, header: Any, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    write_raw(path, header, data)
    try:
        loaded = dict(files.load(path))
    except ImpastoError as error:
        assert isinstance(error, UnreadableWeights)  # noqa: PT017
        return
    library = safetensors.torch.load_file(path)
    assert set(loaded) == set(library)
    assert all(loaded[name].shape == library[name].shape for name in loaded)


NAME = st.text(max_size=4) | st.sampled_from(["x", "y", "__metadata__", "a.b"])
HEADERS = st.lists(
    st.tuples(NAME, st.sampled_from(sorted(files.DTYPES)), st.lists(st.integers(0, 3), max_size=3)),
    max_size=4,
    unique_by=lambda row: row[0],
)


@given(rows=HEADERS, change=st.data())
def test_a_changed_header_loads_as_it_says_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, list[int]]], change: st.DataObject
) -> None:
    """Well-formed files, and such with one byte of the header, its length or their size changed."""
    header, end = {}, 0
    for name, dtype, shape in rows:
        size = files.DTYPES[dtype].itemsize * torch.Size(shape).numel()
        header[name] = entry(dtype, shape, [end, end + size])
        end += size
    path = tmp_path_factory.getbasetemp() / "changed"
    write_raw(path, header, bytes(end))
    data = bytearray(path.read_bytes())
    where = change.draw(st.integers(0, len(data) - 1))
    match change.draw(st.sampled_from(["nothing", "byte", "cut", "longer"])):
        case "byte":
            data[where] = change.draw(st.integers(0, 255))
        case "cut":
            del data[where:]
        case "longer":
            data += b"\0"
    path.write_bytes(data)
    try:
        loaded = files.load(path)
    except UnreadableWeights:
        return
    assert sum(e.end - e.start for e in loaded.entries.values()) + 8 + int.from_bytes(data[:8], "little") == len(data)
    for name, where_ in loaded.entries.items():
        assert tuple(loaded[name].shape) == where_.shape
        assert loaded[name].untyped_storage().nbytes() <= len(data)
    assert loaded.digest().startswith("sha256:")


@pytest.mark.parametrize("length", [90_000_000, 2**40])
def test_a_header_longer_than_its_file_is_not_read(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{" + b" " * 1_000_000)
    with pytest.raises(UnreadableWeights, match="header"):
        files.load(path)


@pytest.mark.parametrize("piece", [b"{},", b"[],", b"0,"])
def test_a_header_of_nothing_but_small_values_is_not_parsed(tmp_path: Path, piece: bytes) -> None:
    content = b'{"x":[' + piece * 1_100_000 + b"0]}"
    write_raw(tmp_path / "x.safetensors", content, b"")
    with pytest.raises(UnreadableWeights, match="values"):
        files.load(tmp_path / "x.safetensors")


LETTER = "\N{WAVING HAND SIGN}"
"""Makes every letter of a string in memory take four bytes."""

LARGE = {
    "long metadata": b'{"__metadata__":{"x":"' + LETTER.encode() + b"%s" + b'"}}',
    "a long name": b'{"' + LETTER.encode() + b'%s":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    "escapes": b'{"__metadata__":{"x":"' + LETTER.encode() + b'%s\\n"}}',
    "a long shape": b'{"x":{"dtype":"U8","shape":[0%s],"data_offsets":[0,0]}}',
    "spaces": b"{%s}",
}


@pytest.mark.parametrize("share", [0.95, 0.19], ids=["nearly all of the file", "a fifth of the file"])
@pytest.mark.parametrize("case", LARGE)
def test_a_header_takes_less_than_twice_its_file_in_memory(tmp_path: Path, case: str, share: float) -> None:
    size = 50_000_000
    filling = {"a long shape": b",0", "spaces": b" "}.get(case, b"a")
    header = LARGE[case].replace(b"%s", filling * (int(size * share) // len(filling)))
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(size)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableWeights):
            files.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * size
    finally:
        tracemalloc.stop()
