"""Randomness that is a function of (seed, purpose, index) and of nothing else.

No generator lives from one step to the next, so a run that was stopped goes on with the very draws it would have made.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """Return a fresh CPU generator for this `seed`, `purpose` and `index`; different ones are independent."""
    material = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(material[:8], "big") >> 1)


def shuffled(seed: int, first: int, count: int, size: int) -> Tensor:
    """Return the `count` (int64) indices from position `first` on in an endless run of shuffled epochs of `size`.

    Every epoch holds each of 0 .. size - 1 once, in an order of its own.
    """
    pieces, position = [], first
    while position < first + count:
        epoch, start = divmod(position, size)
        order = torch.randperm(size, generator=generator(seed, "order", epoch))
        pieces.append(order[start : start + first + count - position])
        position += len(pieces[-1])
    return torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.int64)
