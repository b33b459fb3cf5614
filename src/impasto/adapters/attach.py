"""Adapters on networks, from outside: by hooks that add to what a layer puts out, or fused into copies of its weights.

The networks' own tensors are never written to. Taking an adapter off again gives the network that there was, bit for
bit, since it is the same tensors.

Several adapters add up: each is a change relative to the network without any. With a weight w, the change is w times
what it is at 1, which is off at 0 also for DoRA.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from impasto.adapters.layouts import PARTS, Part
from impasto.adapters.lowrank import (
    Call,
    Change,
    Layer,
    LowRank,
    length_ratio,
    product_shape,
    weight_change,
    with_change,
)
from impasto.errors import InvalidInput, KeyMismatch, printable


class Changes(Protocol):
    """What can be attached: `Adapter`, or a `TrainableAdapter`."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def parts(self) -> Mapping[Part, Mapping[str, Any]]:
        """(part) -> (path of a layer) -> `lowrank.Change`."""


class Parts(Protocol):
    """Networks that adapters are for, such as `weights.load.Networks`."""

    @property
    def unet(self) -> nn.Module:
        """That predicts noise."""

    @property
    def text_encoder(self) -> nn.Module:
        """That reads words."""


@dataclass(frozen=True, eq=False)
class Use:
    """An adapter to use, and how strongly in each part: 0 is off, 1 as it was made; others work, negative ones too."""

    adapter: Changes
    unet: float = 1.0
    text_encoder: float = 1.0


class Attachment:
    """Adapters that are on networks; made by `attached`, or by `attach` for whoever takes them off himself."""

    def __init__(self, networks: Parts, uses: Sequence[Use]) -> None:
        """See `attach`."""
        self._weights = [{"unet": use.unet, "text_encoder": use.text_encoder} for use in uses]
        self._handles: list[RemovableHandle] = []
        for part, layer, changes in _homes(networks, uses):
            hook = _Hook([_Weighted(change, self._weights[index], part) for index, change in changes])
            self._handles.append(layer.register_forward_hook(hook))

    def weigh(self, index: int, **weights: float) -> None:
        """Use adapter `index` (from 0, in the order given) from now on with these weights, by part.

        Raises:
            InvalidInput: no such adapter or part.
        """
        if not 0 <= index < len(self._weights) or weights.keys() - PARTS:
            raise InvalidInput(
                f"There is no weight of {', '.join(weights)} for adapter {index}: "
                f"{len(self._weights)} are attached, and the parts are {', '.join(PARTS)}."
            )
        self._weights[index].update(weights)

    def detach(self) -> None:
        """Take all of them off; once more does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def attach(networks: Parts, uses: Sequence[Use]) -> Attachment:
    """Put adapters on `networks` until `detach` is called; see `attached`."""
    return Attachment(networks, uses)


@contextmanager
def attached(networks: Parts, uses: Sequence[Use]) -> Iterator[Attachment]:
    """Put adapters on `networks` for the time of a `with` block.

    Args:
        networks: whose `unet` and `text_encoder` are to be changed.
        uses: the adapters with their weights; what this yields changes the weights later.

    Raises:
        KeyMismatch: a layer that the networks do not have, or that has another shape; nothing is attached then.
    """
    attachment = Attachment(networks, uses)
    try:
        yield attachment
    finally:
        attachment.detach()


@dataclass(eq=False)
class _Weighted:
    """A change of a layer with its weight, which may be another one at the next call."""

    change: Change
    weights: Mapping[str, float]
    part: Part
    kept: Tensor | None = None

    def ratio(self, weight: Tensor) -> Tensor | None:
        """Return DoRA's `length_ratio`; computed once, unless the change is being trained."""
        if self.change.dora is None:
            return None
        if not isinstance(self.change, LowRank):
            return length_ratio(weight, self.change)
        if self.kept is None:
            self.kept = length_ratio(weight, self.change)
        return self.kept


class _Hook:
    """Adds to what a layer puts out; torch calls it after the layer."""

    def __init__(self, changes: list[_Weighted]) -> None:
        self._changes = changes

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """Return `out` with all changes, each relative to `out` itself."""
        assert isinstance(layer, (nn.Linear, nn.Conv2d))
        call, result = Call(layer, inputs[0], out), out
        for item in self._changes:
            if weight := item.weights[item.part]:
                ratio = item.ratio(layer.weight)
                result = with_change(result, call, item.change, ratio, weight)
        return result


def _homes(networks: Parts, uses: Sequence[Use]) -> list[tuple[Part, Layer, list[tuple[int, Change]]]]:
    """Return each layer that is changed, with its changes and the index of the use that each is from.

    Raises:
        KeyMismatch: a layer that is not there or has another shape; lists all of an adapter's in a part.
    """
    needed = [part for part in PARTS if any(use.adapter.parts.get(part) for use in uses)]
    return [(part, *home) for part in needed for home in _homes_in(getattr(networks, part), part, uses)]


def _homes_in(network: nn.Module, part: Part, uses: Sequence[Use]) -> list[tuple[Layer, list[tuple[int, Change]]]]:
    layers = dict(network.named_modules())
    homes: dict[str, list[tuple[int, Change]]] = {}
    for index, use in enumerate(uses):
        unknown, misshapen = [], []
        for path, change in use.adapter.parts.get(part, {}).items():
            layer = layers.get(path)
            if not isinstance(layer, (nn.Linear, nn.Conv2d)):
                unknown.append(f"{part}.{path}")
            elif (fitting := fitted(change, layer.weight)) is None:
                misshapen.append(f"{part}.{path}: {product_shape(change)} for {tuple(layer.weight.shape)}")
            else:
                homes.setdefault(path, []).append((index, fitting))
        if unknown or misshapen:
            raise KeyMismatch(f"The adapter {printable(use.adapter.name)}", unknown, (), misshapen)
    return [(layers[path], changes) for path, changes in homes.items()]


def fitted(change: Change, weight: Tensor) -> Change | None:
    """Return `change` in the number format and dimensions of a layer's `weight`; None if it has another shape.

    1x1 convolutions and linear layers are the same thing and are made into one another. What is being trained is not
    copied: it was made for its layer.
    """
    if not isinstance(change, LowRank):
        return change if product_shape(change) == weight.shape else None
    pieces = 1 if change.kron is None else change.kron.shape[1]
    if change.down.ndim == 2 and change.mid is None and change.down.shape[1] * pieces == weight[0].numel():
        # A LoHa and a LoKr do not tell the window.
        change = replace(change, down=change.down.reshape(change.rank, -1, *weight.shape[2:]))
    shaped = replace(change.each(lambda tensor: _as_wide(tensor, weight.ndim)), kron=change.kron)
    ones = (1,) * (weight.ndim - 2)
    lengths = (None, (weight.shape[0], 1, *ones), (1, weight.shape[1], *ones))
    if (
        product_shape(shaped) != weight.shape
        or (shaped.dora if shaped.dora is None else shaped.dora.shape) not in lengths
    ):
        return None
    return shaped.each(lambda tensor: tensor.to(weight.device, weight.dtype))


def _as_wide(tensor: Tensor, sides: int) -> Tensor:
    """Return `tensor` with `sides` sides, by sides of 1 at its end; as it is where that cannot be."""
    if tensor.ndim == sides:
        return tensor
    if tensor.ndim < sides:
        return tensor[(...,) + (None,) * (sides - tensor.ndim)]
    return tensor.reshape(tensor.shape[:sides]) if set(tensor.shape[sides:]) == {1} else tensor


class Fused:
    """Adapters that are in the weights of networks; made by `fuse`. The networks' own weights are kept beside."""

    def __init__(self, networks: Parts, uses: Sequence[Use]) -> None:
        """See `fuse`."""
        self._own: list[tuple[Layer, Tensor]] = []
        for part, layer, changes in _homes(networks, uses):
            weights = [(change, getattr(uses[index], part)) for index, change in changes]
            self._own.append((layer, layer.weight))
            layer.weight = nn.Parameter(_changed(layer.weight.detach(), weights), layer.weight.requires_grad)

    def unfuse(self) -> None:
        """Give the networks back their own weights, the very tensors; once more does nothing."""
        for layer, weight in self._own:
            layer.weight = weight
        self._own.clear()


def fuse(networks: Parts, uses: Sequence[Use]) -> Fused:
    """Put adapters into the weights of `networks`, which then need no more time than without.

    Args:
        networks: whose layers get changed copies of their weights.
        uses: the adapters with their weights.

    Raises:
        KeyMismatch: a layer that the networks do not have, or that has another shape; nothing is changed then.
    """
    return Fused(networks, uses)


@torch.no_grad()
def _changed(weight: Tensor, changes: Sequence[tuple[Change, float]]) -> Tensor:
    own = weight.float()
    result = own.clone()
    for change, strength in changes:
        if strength:
            result += strength * weight_change(
                own, change.each(Tensor.float) if isinstance(change, LowRank) else change
            )
    return result.to(weight.dtype)
