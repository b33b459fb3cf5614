"""Low-rank changes taken apart by singular values, and put together again with fewer.

Sources: Eckart & Young 1936 (what is left out is least when the smallest singular values are); kohya-ss/sd-scripts
`networks/resize_lora.py` for the three rules by which a rank is chosen (`sv_ratio`, `sv_cumulative`, `sv_fro`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from impasto.adapters.lowrank import LowRank
from impasto.schema import Frozen


class Size(Frozen):
    """How large a change may stay: by rank, by what is kept of it, or both."""

    rank: int | None = Field(default=None, ge=1, le=4096, description="largest rank")
    ratio: float | None = Field(
        default=None, gt=1, description="leave out singular values below the largest divided by this (sv_ratio)"
    )
    energy: float | None = Field(default=None, gt=0, le=1, description="share of the Frobenius norm to keep (sv_fro)")
    cumulative: float | None = Field(
        default=None, gt=0, le=1, description="share of the sum of the singular values to keep (sv_cumulative)"
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        rules = [name for name in ("ratio", "energy", "cumulative") if getattr(self, name) is not None]
        if len(rules) > 1:
            raise ValueError(f"{' and '.join(rules)} are rules for the same thing: give one")
        if not rules and self.rank is None:
            raise ValueError("give rank, ratio, energy or cumulative")
        return self

    def of(self, values: Tensor) -> int:
        """Return how many of the singular `values`, largest first, to keep: at least 1."""
        count = len(values)
        if self.ratio is not None:
            count = int((values > values[0] / self.ratio).sum())
        if self.energy is not None:
            count = _reaching(values.square(), self.energy**2)
        if self.cumulative is not None:
            count = _reaching(values, self.cumulative)
        return max(1, min(count, self.rank or count, len(values)))


def _reaching(parts: Tensor, share: float) -> int:
    """Return how many of `parts` have together `share` of all."""
    sums = parts.double().cumsum(0)
    # What rounding may take from the last sum must not ask for one more.
    return int((sums < share * sums[-1] * (1 - 1e-7)).sum()) + 1


@dataclass(frozen=True, eq=False)
class Factored:
    """A matrix as u * s @ v.

    Attributes:
        u: (out, K), orthonormal columns.
        s: (K,), singular values, largest first.
        v: (K, in * window), orthonormal rows.
        shape: of the layer's weight.
    """

    u: Tensor
    s: Tensor
    v: Tensor
    shape: tuple[int, ...]

    def first(self, count: int, scale: float = 1.0) -> LowRank:
        """Return the first `count` singular values as a change; both factors get the root of each.

        Args:
            count: rank of the change.
            scale: of the change, by which what is here is to be multiplied.
        """
        roots = self.s[:count].sqrt()
        return self.change(self.u[:, :count] * roots, roots[:, None] * self.v[:count], scale)

    def change(self, up: Tensor, down: Tensor, scale: float = 1.0) -> LowRank:
        """Return `up` (out, R) and `down` (R, in * window) as a change of the layer."""
        rank, ones = down.shape[0], (1,) * (len(self.shape) - 2)
        shaped = down.reshape(rank, *self.shape[1:]).contiguous()
        return LowRank(shaped, up.reshape(*up.shape, *ones).contiguous(), scale * rank)


def factored(weight: Tensor) -> Factored:
    """Take a whole `weight` (out, in, ...) apart; float32."""
    u, s, v = torch.linalg.svd(weight.float().flatten(1), full_matrices=False)
    return Factored(u, s, v, tuple(weight.shape))


def factored_product(change: LowRank) -> Factored:
    """Take up @ down apart, without scale, and without ever making the whole of it.

    With up = Q R and down' = P T, up @ down = Q (R T') P', of which only the small middle is taken apart.
    """
    change = change.plain()
    up, down = change.up.float().flatten(1), change.down.float().flatten(1)
    q, r = torch.linalg.qr(up)
    p, t = torch.linalg.qr(down.T)
    u, s, v = torch.linalg.svd(r @ t.T, full_matrices=False)
    return Factored(q @ u, s, v @ p.T, (change.up.shape[0], *change.down.shape[1:]))
