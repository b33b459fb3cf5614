"""What low-rank factors do to a layer: to its weight, and to what it puts out.

Sources: Hu et al. 2021, "LoRA"; Liu et al. 2024, "DoRA", equation 5 and section 4.3 (the lengths count as constants
when gradients are taken); LyCORIS (Yeh et al. 2023, "Navigating Text-To-Image Customization") for convolutions, where
down is a convolution and up one of 1x1, for Tucker's form, and for LoKr, a Kronecker product with a small matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

Layer: TypeAlias = nn.Linear | nn.Conv2d


class Change(Protocol):
    """Factors of a layer: `LowRank`, or the same as parameters that are being trained."""

    @property
    def down(self) -> Tensor:
        """(R, in) or (R, in, h, w)."""

    @property
    def up(self) -> Tensor:
        """(out, R) or (out, R, 1, 1)."""

    @property
    def mid(self) -> Tensor | None:
        """(R, R, h, w), or None."""

    @property
    def dora(self) -> Tensor | None:
        """Lengths of the changed weight's rows or columns, (out, 1, ...) or (1, in, ...), or None."""

    @property
    def kron(self) -> Tensor | None:
        """(a, b), or None."""

    @property
    def scale(self) -> float:
        """What the product is multiplied by."""

    def entering(self, x: Tensor) -> Tensor:
        """Return the layer's input `x` as the change is to see it."""


@dataclass(frozen=True, eq=False)
class LowRank:
    """The change of one layer: its weight W becomes W + scale * up @ down; a LoKr's W + scale * kron (x) (up @ down).

    Attributes:
        down: (R, in) of a linear layer, (R, in, h, w) of a convolution; (R, in, 1, 1) where there is a `mid`. Of a
            layer whose file does not tell whether it is a convolution, (R, in * h * w), which `attach.fitted` shapes.
        up: (out, R), or (out, R, 1, 1).
        alpha: `scale` times the rank.
        mid: (R, R, h, w), a convolution between the two (Tucker's form).
        dora: the lengths that the changed weight's rows have, (out, 1) or (out, 1, 1, 1); those of its columns in
            files by early versions of LyCORIS, (1, in) or (1, in, 1, 1).
        kron: (a, b), the small factor of a Kronecker product, whose `down` and `up` then are of an in / b and an
            out / a of the layer's.
    """

    down: Tensor
    up: Tensor
    alpha: float
    mid: Tensor | None = None
    dora: Tensor | None = None
    kron: Tensor | None = None

    @property
    def rank(self) -> int:
        """How many rows `down` has, and columns `up`."""
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        """What the product is multiplied by."""
        return self.alpha / self.rank

    @property
    def factors(self) -> dict[str, Tensor]:
        """Those tensors that there are, by the name that they have here."""
        named = {"down": self.down, "up": self.up, "mid": self.mid, "dora": self.dora, "kron": self.kron}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def each(self, function: Callable[[Tensor], Tensor]) -> LowRank:
        """Return this with `function` of each tensor in the tensor's place."""
        changed: dict[str, Any] = {name: function(tensor) for name, tensor in self.factors.items()}
        return replace(self, **changed)

    def plain(self) -> LowRank:
        """Return the same change as `up` and `down` alone: a `mid` is multiplied into `down`, a `kron` into both.

        That of a `mid` has the same rank; that of a `kron` b times as many, or as many as the layer can have.
        """
        if self.mid is None and self.kron is None:
            return self
        down = self.down if self.mid is None else torch.einsum("srhw,ri->sihw", self.mid, self.down.flatten(1))
        if self.kron is None:
            return LowRank(down, self.up, self.alpha, None, self.dora)
        return _multiplied_out(self.kron.float(), self.up.float().flatten(1), down.float(), self)

    def entering(self, x: Tensor) -> Tensor:
        """Return the layer's input as the change is to see it: `x` itself."""
        return x


def _multiplied_out(kron: Tensor, up: Tensor, down: Tensor, change: LowRank) -> LowRank:
    """Return kron (x) (up @ down) as one product: kron (x) up and 1 (x) down, or the whole of it where that is less."""
    window = (down.shape[1] * kron.shape[1], *down.shape[2:])
    ranks = kron.shape[1] * down.shape[0]
    if ranks < min(kron.shape[0] * up.shape[0], math.prod(window)):
        inner = torch.kron(torch.eye(kron.shape[1], device=down.device), down.flatten(1)).reshape(ranks, *window)
        return LowRank(inner, torch.kron(kron, up), change.scale * ranks, None, change.dora)
    whole = torch.kron(kron, up @ down.flatten(1)).reshape(-1, *window)
    outer, inner = halves(whole)
    return LowRank(inner, outer, change.scale * inner.shape[0], None, change.dora)


def halves(whole: Tensor) -> tuple[Tensor, Tensor]:
    """Return up (out, R) and down (R, in, ...), the one of which is the `whole` (out, in, ...) and the other 1."""
    inputs = whole[0].numel()
    if whole.shape[0] <= inputs:
        return torch.eye(whole.shape[0], device=whole.device), whole
    return whole.flatten(1), torch.eye(inputs, device=whole.device).reshape(inputs, *whole.shape[1:])


def product_shape(change: Change) -> tuple[int, ...]:
    """Return the shape of the product, which is that of the weight it is for."""
    window = (change.down if change.mid is None else change.mid).shape[2:]
    a, b = (1, 1) if change.kron is None else change.kron.shape
    return (a * change.up.shape[0], b * change.down.shape[1], *window)


def product(change: Change) -> Tensor:
    """Return scale * up @ down (a LoKr's: scale * kron (x) (up @ down)), in the shape of the layer's weight."""
    down, up, mid = change.down, change.up.flatten(1), change.mid
    if mid is not None:
        down = torch.einsum("srhw,ri->sihw", mid, down.flatten(1))
    inner = up @ down.flatten(1)
    whole = inner if change.kron is None else torch.kron(change.kron, inner)
    return change.scale * whole.reshape(product_shape(change))


def weight_change(weight: Tensor, change: Change) -> Tensor:
    """Return what has to be added to a layer's `weight`, which also DoRA needs to know."""
    plain = product(change)
    if change.dora is None:
        return plain
    return (weight + plain) * length_ratio(weight, change) - weight


def length_ratio(weight: Tensor, change: Change) -> Tensor:
    """Return what the rows or columns of (weight + product) are multiplied by: (out, 1, ...) or (1, in, ...)."""
    assert change.dora is not None
    with torch.no_grad():
        changed = weight + product(change).to(weight.dtype)
        constant = [side for side, length in enumerate(change.dora.shape) if length == 1 and side < 2] + [2, 3]
        lengths = torch.linalg.vector_norm(changed, dim=constant[: weight.ndim - 1], keepdim=True)
        lengths = lengths.clamp_min(torch.finfo(weight.dtype).eps)
    return torch.div(change.dora.to(weight.dtype), lengths)


@dataclass(frozen=True, eq=False)
class Call:
    """A layer, what it was given, and what it puts out for it without any change."""

    layer: Layer
    x: Tensor
    out: Tensor


def with_change(result: Tensor, call: Call, change: Change, ratio: Tensor | None, weight: float) -> Tensor:
    """Return `result` and, added to it, what a change of a layer's weights changes in what the layer puts out.

    Args:
        result: what the layer puts out, and what other changes have added to it.
        call: of the layer, whose weights stay as they are.
        change: what would be added to its weights.
        ratio: `length_ratio` for DoRA, None for plain LoRA.
        weight: what the change is multiplied by.
    """
    layer, x = call.layer, change.entering(call.x)
    if ratio is None:
        return _added(result, layer, x, change, weight * change.scale)
    if ratio.shape[0] == 1:
        by_column = ratio.reshape((-1, 1, 1) if ratio.ndim == 4 else -1)
        result = result + weight * _plain(layer, x * (by_column - 1))
        return _added(result, layer, x * by_column, change, weight * change.scale)
    by_row = ratio.reshape((-1, 1, 1) if ratio.ndim == 4 else -1)
    own = _without_bias(layer, call.out) if x is call.x else _plain(layer, x)
    product = _outer(layer, _inner(layer, x, change, weight * change.scale), change)
    return result + own * ((by_row - 1) * weight) + by_row * product


def _added(result: Tensor, layer: Layer, x: Tensor, change: Change, scale: float) -> Tensor:
    """Return result + scale * up(down(x)): two small products instead of a large one."""
    inner = _inner(layer, x, change, scale)
    if change.kron is not None or not isinstance(layer, nn.Linear):
        return result + _outer(layer, inner, change)
    # The sum costs no pass of its own; and laid out by its rank, up has a gradient that is quick to compute.
    up = change.up.to(x.dtype).t().contiguous()
    return torch.addmm(result.flatten(0, -2), inner.flatten(0, -2), up).view(result.shape)


def _inner(layer: Layer, x: Tensor, change: Change, scale: float) -> Tensor:
    """Return scale * down(x), with R channels; of a LoKr, of each of the b pieces that x is cut into."""
    down = change.down.to(x.dtype)
    if change.kron is not None:
        x = _cut(layer, x, change.kron.shape[1])
    if isinstance(layer, nn.Linear):
        return F.linear(x, down) * scale
    inner = _conv(layer, x, down) if change.mid is None else _conv(layer, F.conv2d(x, down), change.mid.to(x.dtype))
    return inner * scale


def _outer(layer: Layer, inner: Tensor, change: Change) -> Tensor:
    """Return up(inner); of a LoKr, the pieces that are its own are mixed by `kron` and put together again."""
    up = change.up.to(inner.dtype)
    outer = F.linear(inner, up) if isinstance(layer, nn.Linear) else F.conv2d(inner, up)
    if change.kron is None:
        return outer
    kron = change.kron.to(inner.dtype)
    if isinstance(layer, nn.Linear):
        return torch.einsum("ab,...bc->...ac", kron, outer).flatten(-2)
    return torch.einsum("ab,nbchw->nachw", kron, outer.unflatten(0, (-1, kron.shape[1]))).flatten(1, 2)


def _cut(layer: Layer, x: Tensor, pieces: int) -> Tensor:
    """Return (..., in) as (..., pieces, in / pieces), images (N, in, H, W) as (N * pieces, in / pieces, H, W)."""
    if isinstance(layer, nn.Linear):
        return x.reshape(*x.shape[:-1], pieces, -1)
    return x.reshape(-1, x.shape[1] // pieces, *x.shape[2:])


def _plain(layer: Layer, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight) if isinstance(layer, nn.Linear) else _conv(layer, x, layer.weight)


def _conv(layer: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def _without_bias(layer: Layer, out: Tensor) -> Tensor:
    if layer.bias is None:
        return out
    return out - (layer.bias if isinstance(layer, nn.Linear) else layer.bias[:, None, None])
