"""Half precision on processors that have no instructions for it: kept in half, multiplied in float32.

Without such instructions torch multiplies bfloat16 and float16 one number at a time, more than ten times as slowly as
float32. Here weights and activations stay in half precision, and each layer widens them for as long as it takes. Sums
are then exact to float32 before they are rounded, as they are where there are instructions.
"""

from __future__ import annotations

import functools
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads
from torch.overrides import _get_current_function_mode

M = TypeVar("M", bound=nn.Module)

STRIP = 8_000_000
"""Bytes of float32 that a convolution widens at a time."""


@functools.cache
def native(dtype: torch.dtype, device: str) -> bool:
    """Return whether a `device` of that type multiplies numbers of `dtype` by instructions of its own."""
    if device != "cpu":
        return True
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return True


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """Return scaled dot-product attention (B, heads, N, C) of `q`, over `k` and `v` (B, heads, T, C)."""
    if native(q.dtype, q.device.type):
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
    wide = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), mask, is_causal=causal)
    return wide.to(q.dtype)


def widened(module: M) -> M:
    """Return `module`, whose layers now multiply in float32, if that is faster for the weights that they have."""
    for layer in module.modules():
        kind = WIDE.get(type(layer))
        if kind and not native(layer.weight.dtype, layer.weight.device.type):
            layer.__class__ = kind
    return module


class WideLinear(nn.Linear):
    """A linear layer kept in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out), in the dtype of `x`."""
        out: Tensor = F.linear(x.float(), self.weight.float(), _wide(self.bias))
        return out.to(x.dtype)


class WideConv2d(nn.Conv2d):
    """A convolution kept in half precision; large pictures are widened strip by strip."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H', W'), in the dtype of `x`."""
        weight, bias = self.weight.float(), _wide(self.bias)
        rows = max(STRIP // max(x[:, :, :1].numel() * 4, 1), 1)
        if rows < x.shape[2] and self._by_strips():
            return self._strips(x, weight, bias, rows)
        out: Tensor = self._conv_forward(x.float(), weight, bias)
        return out.to(x.dtype)

    def _by_strips(self) -> bool:
        """Return whether every row out is of the rows around it, and nobody changes how the edges are padded."""
        size = self.kernel_size[0]
        same = self.stride == (1, 1) and self.dilation == (1, 1) and self.padding == (size // 2, size // 2)
        return same and self.padding_mode == "zeros" and _get_current_function_mode() is None

    def _strips(self, x: Tensor, weight: Tensor, bias: Tensor | None, rows: int) -> Tensor:
        edge, height = int(self.padding[0]), x.shape[2]
        out = x.new_empty(len(x), self.out_channels, height, x.shape[3])
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            strip = x[:, :, max(top - edge, 0) : bottom + edge].float()
            strip = F.pad(strip, (0, 0, max(edge - top, 0), max(bottom + edge - height, 0)))
            out[:, :, top:bottom] = F.conv2d(strip, weight, bias, padding=(0, edge), groups=self.groups)
        return out


WIDE: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: WideLinear, nn.Conv2d: WideConv2d}


def _wide(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float()
