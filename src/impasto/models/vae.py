"""The KL autoencoder of Stable Diffusion 1.x: pictures to latents and back.

Source: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models" (CompVis/latent-diffusion,
`AutoencoderKL`); parameter names are those of the diffusers folder format.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from impasto.models.precision import attend
from impasto.models.resnet import Downsample, ResnetBlock, Upsample
from impasto.models.sparing import plus, silu
from impasto.schema import Frozen

EPS = 1e-6  # of every norm in this network; 1e-5, torch's default, is subtly wrong


class VAEConfig(Frozen):
    """Shape of an autoencoder; the defaults are those of Stable Diffusion 1.x."""

    in_channels: int = Field(default=3, ge=1, description="channels of the pictures that go in")
    out_channels: int = Field(default=3, ge=1, description="channels of the pictures that come out")
    block_out_channels: tuple[int, ...] = Field(
        default=(128, 256, 512, 512), min_length=1, description="channels per level, finest first"
    )
    layers_per_block: int = Field(
        default=2, ge=1, description="residual blocks per encoder level; the decoder has one more"
    )
    latent_channels: int = Field(default=4, ge=1, description="channels of the latents")
    norm_num_groups: int = Field(
        default=32, ge=1, description="groups of every group norm; divides every level's channels"
    )
    scaling_factor: float = Field(default=0.18215, gt=0, description="what a diffusion model multiplies the latents by")

    @property
    def factor(self) -> int:
        """Pixels per latent, along each side."""
        return int(2 ** (len(self.block_out_channels) - 1))

    @model_validator(mode="after")
    def _groups_divide_channels(self) -> Self:
        if uneven := [c for c in self.block_out_channels if c % self.norm_num_groups]:
            message = f"norm_num_groups {self.norm_num_groups} must divide block_out_channels, not so for {uneven}"
            raise ValueError(message)
        return self


@dataclass(frozen=True)
class DiagonalGaussian:
    """The encoder's posterior over latents, one independent normal each.

    Attributes:
        mean: (B, C, h, w).
        logvar: (B, C, h, w), within [-30, 20].
    """

    mean: Tensor
    logvar: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + std * noise, for standard normal `noise` shaped like the mean."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def mode(self) -> Tensor:
        """Return the most likely latents, which are the mean."""
        return self.mean

    def kl(self) -> Tensor:
        """Return the divergence from the standard normal, in nats, summed over each picture's latents: (B,)."""
        nats = 0.5 * (self.mean.square() + self.logvar.exp() - 1.0 - self.logvar)
        return nats.flatten(1).sum(1)


class PixelAttention(nn.Module):
    """Self-attention with one head over the pixels of a feature map, with its own norm and residual path."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, EPS)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        h = self.group_norm(x).flatten(2).transpose(1, 2).unsqueeze(1)  # (B, 1, H*W, C): one head
        h = attend(self.to_q(h), self.to_k(h), self.to_v(h))
        h = self.to_out[0](h).squeeze(1).transpose(1, 2).unflatten(2, x.shape[2:])
        return plus(h, x)


class MidBlock(nn.Module):
    """The coarsest level: residual block, attention, residual block."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, groups, EPS) for _ in range(2))
        self.attentions = nn.ModuleList([PixelAttention(channels, groups)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out: Tensor = self.resnets[1](self.attentions[0](self.resnets[0](x)))
        return out


class EncoderLevel(nn.Module):
    """Residual blocks, then half the size, except at the coarsest level."""

    def __init__(self, config: VAEConfig, level: int) -> None:
        super().__init__()
        widths = config.block_out_channels
        width = widths[level]
        inputs = [widths[max(level - 1, 0)]] + [width] * (config.layers_per_block - 1)
        self.resnets = nn.ModuleList(ResnetBlock(c, width, config.norm_num_groups, EPS) for c in inputs)
        last = level == len(widths) - 1
        self.downsamplers = nn.ModuleList([] if last else [Downsample(width, symmetric=False)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H/2, W/2), or to (B, C, H, W) at the coarsest level."""
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class DecoderLevel(nn.Module):
    """Residual blocks, one more than the encoder has, then twice the size, except at the finest level."""

    def __init__(self, config: VAEConfig, level: int) -> None:
        super().__init__()
        widths = config.block_out_channels
        width = widths[level]
        inputs = [widths[min(level + 1, len(widths) - 1)]] + [width] * config.layers_per_block
        self.resnets = nn.ModuleList(ResnetBlock(c, width, config.norm_num_groups, EPS) for c in inputs)
        self.upsamplers = nn.ModuleList([Upsample(width)] if level else [])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, 2H, 2W), or to (B, C, H, W) at the finest level."""
        for layer in (*self.resnets, *self.upsamplers):
            x = layer(x)
        return x


class Encoder(nn.Module):
    """Pictures to the moments of their latents."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(EncoderLevel(config, level) for level in range(len(widths)))
        self.mid_block = MidBlock(widths[-1], config.norm_num_groups)
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 2 * latent channels, h, w)."""
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        x = self.mid_block(x)
        out: Tensor = self.conv_out(silu(self.conv_norm_out(x)))
        return out


class Decoder(nn.Module):
    """Latents to pictures."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.mid_block = MidBlock(widths[-1], config.norm_num_groups)
        self.up_blocks = nn.ModuleList(DecoderLevel(config, level) for level in reversed(range(len(widths))))
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[0], EPS)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, latent channels, h, w) to (B, C, H, W)."""
        x = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            x = level(x)
        out: Tensor = self.conv_out(silu(self.conv_norm_out(x)))
        return out


class AutoencoderKL(nn.Module):
    """Encoder and decoder. Latents in and out are raw: whoever diffuses them applies `config.scaling_factor`."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """Return the posterior of pictures `x` (B, C, H, W) in [-1, 1], with sides that `config.factor` divides."""
        mean, logvar = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar.clamp(-30.0, 20.0))

    def decode(self, z: Tensor) -> Tensor:
        """Return the pictures (B, C, H, W), about within [-1, 1], of raw latents `z` (B, latent channels, h, w)."""
        out: Tensor = self.decoder(self.post_quant_conv(z))
        return out

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, DiagonalGaussian]:
        """Return the reconstruction of `x` from latents sampled with `noise`, and their posterior."""
        posterior = self.encode(x)
        return self.decode(posterior.sample(noise)), posterior
