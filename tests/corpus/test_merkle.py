from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.corpus import merkle

leaves = st.lists(st.binary(max_size=8), min_size=1, max_size=40).map(
    lambda items: [merkle.leaf_hash(i) for i in items]
)


def recursive_root(items: list[bytes]) -> bytes:
    """MTH as RFC 9162, 2.1.1 writes it."""
    if len(items) == 1:
        return items[0]
    k = 1
    while k * 2 < len(items):
        k *= 2
    return hashlib.sha256(b"\x01" + recursive_root(items[:k]) + recursive_root(items[k:])).digest()


@given(leaves)
def test_root_is_the_recursive_definition(items: list[bytes]) -> None:
    assert merkle.root(items) == f"sha256:{recursive_root(items).hex()}"


def test_known_roots() -> None:
    # Of no leaves, and of one empty leaf: test vectors of RFC 6962's reference implementation.
    assert merkle.root([]).endswith("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert merkle.root([merkle.leaf_hash(b"")]).endswith(
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    )


@given(leaves, st.data())
def test_every_leaf_has_a_proof(items: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(items) - 1))
    proof = merkle.prove(items, index)
    assert proof.root == merkle.root(items)
    assert merkle.verify(proof, items[index])


@given(leaves, st.data())
def test_a_proof_holds_for_nothing_else(items: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(items) - 1))
    proof = merkle.prove(items, index)
    assert not merkle.verify(proof, merkle.leaf_hash(b"another leaf"))
    if proof.path:
        place = data.draw(st.integers(0, len(proof.path) - 1))
        path = [*proof.path[:place], "00" * 32, *proof.path[place + 1 :]]
        assert not merkle.verify(proof.model_copy(update={"path": tuple(path)}), items[index])
        assert not merkle.verify(proof.model_copy(update={"path": proof.path[:-1]}), items[index])
    assert not merkle.verify(proof.model_copy(update={"path": (*proof.path, "00" * 32)}), items[index])
    assert not merkle.verify(proof.model_copy(update={"index": len(items)}), items[index])


@given(leaves, st.data())
def test_any_change_of_a_leaf_changes_the_root(items: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(items) - 1))
    changed = [*items[:index], merkle.leaf_hash(b"longer than any other"), *items[index + 1 :]]
    assert merkle.root(changed) != merkle.root(items)
    assert merkle.root([*items, items[-1]]) != merkle.root(items)


def test_a_node_is_not_a_leaf() -> None:
    one, two = merkle.leaf_hash(b"1"), merkle.leaf_hash(b"2")
    assert merkle.root([merkle.leaf_hash(one + two)]) != merkle.root([one, two])


def test_no_proof_outside_the_tree() -> None:
    with pytest.raises(IndexError, match="leaf 1 of 1"):
        merkle.prove([merkle.leaf_hash(b"")], 1)
