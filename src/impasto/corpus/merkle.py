"""Merkle tree hash with inclusion proofs (RFC 9162, section 2.1, as in RFC 6962).

Leaf and node hashes are told apart by a first byte (0x00, 0x01), so no node can be passed off as a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from impasto.schema import Frozen


class Proof(Frozen):
    """Evidence that a leaf stands at `index` among `size` leaves under `root`.

    Attributes:
        root: `sha256:<hex>`.
        path: hex hashes from the leaf's sibling up to the root's child.
    """

    root: str
    size: int
    index: int
    path: tuple[str, ...]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over its two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> str:
    """Return `sha256:<hex>` of the tree over leaf hashes; of no leaves, the hash of nothing."""
    return f"sha256:{_levels(leaves)[-1][0].hex()}"


def prove(leaves: Sequence[bytes], index: int) -> Proof:
    """Return the inclusion proof of leaf hash `index` (RFC 9162, 2.1.3.1)."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    *levels, top = _levels(leaves)
    path, place = [], index
    for level in levels:
        if (sibling := place ^ 1) < len(level):
            path.append(level[sibling].hex())
        place //= 2
    return Proof(root=f"sha256:{top[0].hex()}", size=len(leaves), index=index, path=tuple(path))


def verify(proof: Proof, leaf: bytes) -> bool:
    """Return whether `proof` shows that leaf hash `leaf` is under its root (RFC 9162, 2.1.3.2)."""
    if not 0 <= proof.index < proof.size:
        return False
    place, last, found = proof.index, proof.size - 1, leaf
    for step in proof.path:
        if last == 0:
            return False
        sibling = bytes.fromhex(step)
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and f"sha256:{found.hex()}" == proof.root


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return the tree from the leaves up; a node without a sibling moves up as it is."""
    levels = [list(leaves) or [hashlib.sha256().digest()]]
    while len(level := levels[-1]) > 1:
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        levels.append(above + level[len(level) - len(level) % 2 :])
    return levels
