"""The UNet of Stable Diffusion 1.x and 2.x, which predicts noise or velocity from noisy latents, a time and words.

Source: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models" (CompVis/stable-diffusion,
`UNetModel`); parameter names are those of the diffusers folder format (`UNet2DConditionModel`).
"""

from __future__ import annotations

import math

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads
from typing_extensions import Self

from impasto.models.attention import SpatialTransformer
from impasto.models.resnet import Downsample, ResnetBlock, Upsample
from impasto.models.sparing import silu
from impasto.schema import Frozen

EPS = 1e-5  # of the norms in and after the residual blocks; those of the attention have 1e-6


class UNetConfig(Frozen):
    """Shape of a UNet; the defaults are those of Stable Diffusion 1.x. Per-level tuples name the finest level first."""

    in_channels: int = Field(default=4, ge=1, description="channels that go in; 9 for an inpainting model")
    out_channels: int = Field(default=4, ge=1, description="channels that come out")
    block_out_channels: tuple[int, ...] = Field(
        default=(320, 640, 1280, 1280), min_length=1, description="channels per level"
    )
    layers_per_block: int = Field(
        default=2, ge=1, description="residual blocks per level going down; going up there is one more"
    )
    attention: tuple[bool, ...] = Field(
        default=(True, True, True, False),
        description="whether a level attends; the middle, below the last level, always does",
    )
    heads: tuple[int, ...] = Field(
        default=(8, 8, 8, 8), description="attention heads per level; the last also for the middle"
    )
    cross_attention_dim: int = Field(default=768, ge=1, description="width of the text encoder's output")
    norm_num_groups: int = Field(
        default=32, ge=1, description="groups of every group norm; divides every level's channels"
    )
    use_linear_projection: bool = Field(
        default=False, description="linear layers, not 1x1 convolutions, around the attention"
    )

    @property
    def factor(self) -> int:
        """Latents along a side per pixel of the coarsest level."""
        return int(2 ** (len(self.block_out_channels) - 1))

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        lengths = {name: len(getattr(self, name)) for name in ("block_out_channels", "attention", "heads")}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"block_out_channels, attention and heads must be equally long, not {lengths}")
        for level, (channels, heads) in enumerate(zip(self.block_out_channels, self.heads, strict=True)):
            if channels % self.norm_num_groups:
                raise ValueError(
                    f"norm_num_groups {self.norm_num_groups} must divide block_out_channels, not so {channels}"
                )
            attends = self.attention[level] or level == len(self.heads) - 1
            if attends and (heads < 1 or channels % heads):
                raise ValueError(f"heads {heads} of level {level} must divide its {channels} channels")
        return self


def timestep_features(t: Tensor, width: int) -> Tensor:
    """Return the cosines, then the sines, of `t` (B,) at `width / 2` frequencies from 1 to 1/10000: (B, width).

    Source: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", appendix B; Stable Diffusion puts cosines first.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimeEmbedding(nn.Module):
    """Two linear layers with SiLU between them, and after them, where every residual block would apply it again."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(features, channels)
        self.linear_2 = nn.Linear(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, features) to (B, channels)."""
        return F.silu(self.linear_2(F.silu(self.linear_1(features))))


class Level(nn.Module):
    """Residual blocks, each followed by a transformer at the levels that attend; what going down and up share."""

    def __init__(self, config: UNetConfig, level: int, inputs: list[int]) -> None:
        super().__init__()
        channels, groups = config.block_out_channels[level], config.norm_num_groups
        time_channels = 4 * config.block_out_channels[0]
        self.resnets = nn.ModuleList(ResnetBlock(c, channels, groups, EPS, time_channels) for c in inputs)
        transformers = len(inputs) if config.attention[level] else 0
        self.attentions = nn.ModuleList(_transformer(config, level) for _ in range(transformers))

    def layer(self, index: int, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Apply residual block `index`, and its transformer where there is one."""
        x = self.resnets[index](x, time)
        out: Tensor = self.attentions[index](x, context) if self.attentions else x
        return out


class DownLevel(Level):
    """A level going down: its layers, then half the size, except at the coarsest level."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        widths = config.block_out_channels
        super().__init__(config, level, [widths[max(level - 1, 0)]] + [widths[level]] * (config.layers_per_block - 1))
        last = level == len(widths) - 1
        self.downsamplers = nn.ModuleList([] if last else [Downsample(widths[level], symmetric=True)])

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> list[Tensor]:
        """Map `x` (B, C_in, H, W) to what every layer (B, C, H, W) and the downsampling (B, C, H/2, W/2) put out."""
        outputs = []
        for index in range(len(self.resnets)):
            x = self.layer(index, x, time, context)
            outputs.append(x)
        return outputs + [downsample(x) for downsample in self.downsamplers]


class UpLevel(Level):
    """A level going up: layers that each take in what one layer going down put out, then twice the size."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        widths = config.block_out_channels
        width, below, above = widths[level], widths[min(level + 1, len(widths) - 1)], widths[max(level - 1, 0)]
        inner = config.layers_per_block - 1
        super().__init__(config, level, [below + width] + [2 * width] * inner + [width + above])
        self.upsamplers = nn.ModuleList([Upsample(width)] if level else [])

    def forward(
        self, x: Tensor, skips: list[Tensor], time: Tensor, context: Tensor, size: tuple[int, int] | None
    ) -> Tensor:
        """Map `x` (B, C_in, H, W), with one of `skips` a layer, the last first, to (B, C, *size).

        `size` is that of the next skip connection: not simply twice (H, W), since an odd one was rounded going down.
        """
        for index, skip in enumerate(reversed(skips)):
            x = self.layer(index, torch.cat([x, skip], dim=1), time, context)
        for upsample in self.upsamplers:
            x = upsample(x, size)
        return x


class MidBlock(nn.Module):
    """Below the coarsest level: residual block, transformer, residual block."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        channels, groups = config.block_out_channels[-1], config.norm_num_groups
        time_channels = 4 * config.block_out_channels[0]
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, groups, EPS, time_channels) for _ in range(2))
        self.attentions = nn.ModuleList([_transformer(config, len(config.heads) - 1)])

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        x = self.attentions[0](self.resnets[0](x, time), context)
        out: Tensor = self.resnets[1](x, time)
        return out


class UNet(nn.Module):
    """The whole network: down the levels, through the middle, and up again over the skip connections."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], 4 * widths[0])
        self.down_blocks = nn.ModuleList(DownLevel(config, level) for level in range(len(widths)))
        self.mid_block = MidBlock(config)
        self.up_blocks = nn.ModuleList(UpLevel(config, level) for level in reversed(range(len(widths))))
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[0], EPS)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Return the prediction for noisy latents.

        Args:
            x: (B, in channels, H, W), of any size; multiples of `config.factor` fit without loss.
            t: (B,), timesteps, which may be fractional.
            context: (B, T, `config.cross_attention_dim`), the encoded words.

        Returns:
            (B, out channels, H, W), in the dtype of `x`.
        """
        time = self.time_embedding(timestep_features(t, self.config.block_out_channels[0]).to(x.dtype))
        x = self.conv_in(x)
        skips = [x]
        for level in self.down_blocks:
            skips += level(skips[-1], time, context)
        x = self.mid_block(skips[-1], time, context)
        taken = self.config.layers_per_block + 1
        for level in self.up_blocks:
            skips, own = skips[:-taken], skips[-taken:]
            x = level(x, own, time, context, skips[-1].shape[2:] if skips else None)
        out: Tensor = self.conv_out(silu(self.conv_norm_out(x)))
        return out


def _transformer(config: UNetConfig, level: int) -> SpatialTransformer:
    return SpatialTransformer(
        config.block_out_channels[level],
        config.cross_attention_dim,
        config.heads[level],
        config.norm_num_groups,
        linear=config.use_linear_projection,
    )
