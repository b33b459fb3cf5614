"""What low-rank factors do to a layer: to its weight, and to what it puts out.

Sources: Hu et al. 2021, "LoRA"; Liu et al. 2024, "DoRA", equation 5 and section 4.3 (the lengths count as constants
when gradients are taken); LyCORIS for convolutions, where down is a convolution and up one of 1x1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

Layer: TypeAlias = nn.Linear | nn.Conv2d


class Change(Protocol):
    """Factors of a layer: `lora.LowRank`, or the same as parameters that are being trained."""

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
    def scale(self) -> float:
        """What the product is multiplied by."""

    def entering(self, x: Tensor) -> Tensor:
        """Return the layer's input `x` as the change is to see it."""


def product_shape(change: Change) -> tuple[int, ...]:
    """Return the shape of up @ down, which is that of the weight it is for."""
    window = (change.down if change.mid is None else change.mid).shape[2:]
    return (change.up.shape[0], change.down.shape[1], *window)


def product(change: Change) -> Tensor:
    """Return scale * up @ down, in the shape of the layer's weight."""
    down, up, mid = change.down, change.up.flatten(1), change.mid
    if mid is not None:
        down = torch.einsum("srhw,ri->sihw", mid, down.flatten(1))
    return change.scale * (up @ down.flatten(1)).reshape(product_shape(change))


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
    product = _outer(layer, _inner(layer, x, change, weight * change.scale), change.up.to(x.dtype))
    return result + own * ((by_row - 1) * weight) + by_row * product


def _added(result: Tensor, layer: Layer, x: Tensor, change: Change, scale: float) -> Tensor:
    """Return result + scale * up(down(x)): two small products instead of a large one."""
    inner, up = _inner(layer, x, change, scale), change.up.to(x.dtype)
    if not isinstance(layer, nn.Linear):
        return result + _outer(layer, inner, up)
    # The sum costs no pass of its own; and laid out by its rank, up has a gradient that is quick to compute.
    added = torch.addmm(result.flatten(0, -2), inner.flatten(0, -2), up.t().contiguous())
    return added.view(result.shape)


def _inner(layer: Layer, x: Tensor, change: Change, scale: float) -> Tensor:
    """Return scale * down(x), with R channels."""
    down = change.down.to(x.dtype)
    if isinstance(layer, nn.Linear):
        return F.linear(x, down) * scale
    inner = _conv(layer, x, down) if change.mid is None else _conv(layer, F.conv2d(x, down), change.mid.to(x.dtype))
    return inner * scale


def _outer(layer: Layer, inner: Tensor, up: Tensor) -> Tensor:
    return F.linear(inner, up) if isinstance(layer, nn.Linear) else F.conv2d(inner, up)


def _plain(layer: Layer, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight) if isinstance(layer, nn.Linear) else _conv(layer, x, layer.weight)


def _conv(layer: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def _without_bias(layer: Layer, out: Tensor) -> Tensor:
    if layer.bias is None:
        return out
    return out - (layer.bias if isinstance(layer, nn.Linear) else layer.bias[:, None, None])
