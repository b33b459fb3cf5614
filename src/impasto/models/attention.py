"""Attention as Stable Diffusion's UNet has it: pixels attend to one another, then to the words.

Sources: Vaswani et al. 2017, "Attention Is All You Need"; Shazeer 2020, "GLU Variants Improve Transformer" (GEGLU);
Rombach et al. 2022, appendix E.2.1 (the spatial transformer). Parameter names are those of the diffusers folder format.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.models.precision import attend
from impasto.models.sparing import plus, times


class Attention(nn.Module):
    """Multi-head scaled dot-product attention; queries from one sequence, keys and values from another or the same.

    Args:
        channels: width of the queries and of the output.
        context_channels: width of what keys and values are made from.
        heads: number of heads; divides `channels`.
    """

    def __init__(self, channels: int, context_channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_channels, channels, bias=False)
        self.to_v = nn.Linear(context_channels, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map queries' source `x` (B, N, C) and keys' source `context` (B, T, D) to (B, N, C)."""
        q, k, v = (
            projected.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, N or T, C / heads)
            for projected in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        attended = attend(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.to_out[0](attended)
        return out


class GEGLU(nn.Module):
    """A linear layer gated by the GELU of another, both held in one."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) to (B, N, hidden)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return times(F.gelu(gate), value)


class FeedForward(nn.Module):
    """GEGLU to four times the width, and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The identity holds the place of a dropout, so that the last layer keeps its name, `net.2`.
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) to the same shape."""
        out: Tensor = self.net(x)
        return out


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to the context and feed-forward, each normed first and added to its input."""

    def __init__(self, channels: int, context_channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = Attention(channels, context_channels, heads)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map `x` (B, N, C), told of `context` (B, T, D), to (B, N, C)."""
        h = self.norm1(x)
        x = plus(self.attn1(h, h), x)
        x = plus(self.attn2(self.norm2(x), context), x)
        return plus(self.ff(self.norm3(x)), x)


class SpatialTransformer(nn.Module):
    """A transformer block over the pixels of a feature map, inside a residual path.

    Args:
        channels: width of the feature map.
        context_channels: width of the context.
        heads: attention heads.
        groups: groups of the norm.
        linear: project in and out by linear layers (Stable Diffusion 2) rather than 1x1 convolutions (1.x); the same
            function, but the weights have another shape.
    """

    def __init__(self, channels: int, context_channels: int, heads: int, groups: int, *, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, context_channels, heads)])
        self.proj_out = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map `x` (B, C, H, W), told of `context` (B, T, D), to (B, C, H, W)."""
        h = self.norm(x)
        h = self.proj_in(_sequence(h)) if self.linear else _sequence(self.proj_in(h))
        h = self.transformer_blocks[0](h, context)
        h = _image(self.proj_out(h), x) if self.linear else self.proj_out(_image(h, x))
        return plus(h, x)


def _sequence(x: Tensor) -> Tensor:
    # Copied once here, or else every layer norm of the block copies it again; free when x is channels last.
    return x.flatten(2).transpose(1, 2).contiguous()  # (B, C, H, W) -> (B, H*W, C)


def _image(x: Tensor, like: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(like.shape)  # (B, H*W, C) -> (B, C, H, W)
