"""Large maps in overlapping tiles: what a network needs memory for at a time is one tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def tiled(network: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int) -> Tensor:
    """Return `network(x)` put together from tiles, each faded into its neighbours.

    Args:
        network: maps (1, C, h, w) to a map that many times larger or smaller on both sides.
        x: (1, C, H, W).
        tile: side of a tile of `x`.
        overlap: of neighbouring tiles, less than `tile`.
    """
    if max(x.shape[2:]) <= tile:
        return network(x)
    total: Tensor | None = None
    weights = torch.zeros(())
    for top in starts(x.shape[2], tile, overlap):
        for left in starts(x.shape[3], tile, overlap):
            part = x[:, :, top : top + tile, left : left + tile]
            out = network(part)
            scale = out.shape[2] / part.shape[2]
            if total is None:
                size = (round(x.shape[2] * scale), round(x.shape[3] * scale))
                total, weights = out.new_zeros(1, out.shape[1], *size), out.new_zeros(1, 1, *size)
            fade = _fade(out.shape[2], out.shape[3], max(1, round(overlap * scale)), out)
            rows = slice(round(top * scale), round(top * scale) + out.shape[2])
            columns = slice(round(left * scale), round(left * scale) + out.shape[3])
            total[:, :, rows, columns] += out * fade
            weights[:, :, rows, columns] += fade
    assert total is not None
    return total / weights


def starts(length: int, tile: int, overlap: int) -> Iterator[int]:
    """Yield where the tiles begin that cover `length`, the last one flush with the end."""
    last = max(length - tile, 0)
    yield from range(0, last, tile - overlap)
    yield last


def _fade(height: int, width: int, overlap: int, like: Tensor) -> Tensor:
    """Return (1, 1, height, width), from near 0 at the edges to 1 from `overlap` on inwards."""
    rows, columns = (_ramp(length, overlap, like) for length in (height, width))
    return (rows[:, None] * columns[None, :])[None, None]


def _ramp(length: int, overlap: int, like: Tensor) -> Tensor:
    distance = torch.arange(1, length + 1, dtype=like.dtype, device=like.device)
    return torch.minimum(distance, distance.flip(0)).clamp(max=overlap) / overlap
