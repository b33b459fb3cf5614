"""Pictures whose ends meet: convolutions that see the other end of the picture beyond its edge."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - the name everyone reads
from torch.overrides import TorchFunctionMode


class Seamless(TorchFunctionMode):
    """While this is entered, every convolution in this thread pads in a circle along the `axes`; no network changes.

    Args:
        axes: any of `x` and `y`; others are padded with zeros, as the networks were trained.
    """

    def __init__(self, axes: str | None) -> None:
        super().__init__()
        self._axes = axes or ""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        values = kwargs or {}
        if self._axes and func is torch.conv2d and len(args) > 4 and not isinstance(args[4], str):
            x, weight, bias, stride, (down, across), *rest = args
            circular = (across if "x" in self._axes else 0, down if "y" in self._axes else 0)
            x = F.pad(x, (circular[0], circular[0], circular[1], circular[1]), mode="circular")
            args = (x, weight, bias, stride, (down - circular[1], across - circular[0]), *rest)
        return func(*args, **values)


def meeting(axes: str | None) -> AbstractContextManager[Any]:
    """Return `Seamless` for `axes`, and nothing to enter for none: layers may then work in strips."""
    return Seamless(axes) if axes else nullcontext()
