"""Name tables: one engine in both directions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.weights.files import Entry
from impasto.weights.layouts.names import NameTable, Row, within

TABLE = NameTable(
    [
        Row("norm", "n"),
        Row("norm.inner", "deep"),
        *within([Row(("q.weight", "k.weight", "v.weight"), "qkv_weight"), Row("out", "o")], "attn.", "a."),
        Row("proj.weight", "p.weight", ones=2),
        Row("proj", "p"),
    ]
)


def entry(*shape: int, start: int = 0) -> Entry:
    return Entry(torch.float32, shape, start, start + 4 * torch.Size(shape).numel())


def test_the_longest_name_that_fits_decides() -> None:
    assert TABLE.place("x.n.bias", "x.", entry(2)) == ({"norm.bias": "x.n.bias"}, {"x.n.bias": entry(2)})
    assert TABLE.place("deep.bias", "", entry(2))[0] == {"norm.inner.bias": "deep.bias"}
    assert TABLE.write({"norm.inner.bias": torch.ones(1), "norm.bias": torch.ones(1)}).keys() == {"deep.bias", "n.bias"}


def test_part_of_a_name_is_not_the_name() -> None:
    assert TABLE.place("normal", "", entry(2))[0] == {"normal": "normal"}
    with pytest.raises(KeyError):
        TABLE.write({"normal": torch.ones(1)})


def test_one_of_theirs_is_three_of_ours() -> None:
    names, places = TABLE.place("x.a.qkv_weight", "x.", entry(6, 2, start=100))
    assert names["attn.k.weight"] == "x.a.qkv_weight[1]"
    assert places["x.a.qkv_weight[1]"] == entry(2, 2, start=116)
    assert TABLE.called("attn.v.weight", "x.") == "x.a.qkv_weight"


def test_a_convolution_is_linear_here() -> None:
    assert TABLE.place("p.weight", "", entry(3, 2, 1, 1))[1] == {"p.weight": entry(3, 2)}
    assert TABLE.place("p.weight", "", entry(3, 2, 3, 3))[1] == {"p.weight": entry(3, 2, 3, 3)}
    assert TABLE.write({"proj.weight": torch.ones(3, 2)})["p.weight"].shape == (3, 2, 1, 1)


def test_what_cannot_be_divided_stays() -> None:
    assert TABLE.place("a.qkv_weight", "", entry(5, 2))[1]["a.qkv_weight[2]"] == entry(5, 2)


@pytest.mark.parametrize("rows", [[Row("a", "x"), Row("b", "x")], [Row("a", "x"), Row("a", "y")]])
def test_no_name_stands_twice(rows: list[Row]) -> None:
    with pytest.raises(ValueError, match="two rows"):
        NameTable(rows)


@given(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_parts_are_the_chunks_of_torch(index: int, rows: int, columns: int, transposed: bool) -> None:
    whole = torch.arange(4 * rows * columns).reshape((columns, 4 * rows) if transposed else (4 * rows, columns))
    whole = whole.t() if transposed else whole
    strides = whole.stride() if transposed else None
    where = Entry(torch.int64, tuple(whole.shape), 0, 8 * whole.numel(), strides).part(index, 4)
    flat = torch.arange(whole.numel())[where.start // 8 : where.end // 8]
    got = flat.as_strided(where.shape, where.strides) if where.strides else flat.reshape(where.shape)
    assert torch.equal(got, whole.chunk(4)[index])
