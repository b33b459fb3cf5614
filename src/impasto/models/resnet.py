"""The convolutional parts that the UNet and the autoencoder share: residual block, downsampling, upsampling.

Parameter names are those of the diffusers folder format (`norm1`, `conv1`, `time_emb_proj`, `conv_shortcut`, `conv`).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.models.sparing import plus, silu


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions with group norm and SiLU, around them a residual path; optionally told the time.

    Args:
        in_channels: channels of the input; when the output has others, a 1x1 convolution adapts the residual path.
        out_channels: channels of the output.
        groups: groups of both norms.
        eps: epsilon of both norms: 1e-6 in Stable Diffusion's autoencoder, 1e-5 in its UNet.
        time_channels: width of the time embedding, None for a block without one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, groups: int, eps: float, time_channels: int | None = None
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        if time_channels is not None:
            self.time_emb_proj = nn.Linear(time_channels, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Map `x` (B, C_in, H, W), and `time` (B, D) after its SiLU, to (B, C_out, H, W)."""
        h = self.conv1(silu(self.norm1(x)))
        if time is not None:
            h = plus(h, self.time_emb_proj(time)[:, :, None, None])
        h = self.conv2(silu(self.norm2(h)))
        return plus(h, x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample(nn.Module):
    """Half the size by a 3x3 convolution of stride 2, padded all round (UNet) or right and below only (encoder)."""

    def __init__(self, channels: int, *, symmetric: bool) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if symmetric else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, ceil(H/2), ceil(W/2)); without symmetric padding odd sizes round down."""
        out: Tensor = self.conv(x if self.symmetric else F.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Twice the size by nearest neighbours, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C, 2H, 2W), or to the `size` of the skip connection that it has to meet."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0) if size is None else F.interpolate(x, size))
        return out
