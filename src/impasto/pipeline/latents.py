"""Pixels to latents and back, in tiles where a picture is large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from impasto.errors import PictureFailed
from impasto.models.vae import AutoencoderKL
from impasto.pipeline.seamless import meeting
from impasto.pipeline.tiles import tiled


@dataclass(frozen=True, eq=False)
class Latents:
    """What a model's pictures are to it.

    Attributes:
        vae: its autoencoder.
        factor: pixels a latent.
        scaling: by which latents are multiplied to have a variance near 1.
        name: of the model, for messages.
    """

    vae: AutoencoderKL
    factor: int
    scaling: float
    name: str

    def of(self, x: Tensor, tile: int | None = None) -> Tensor:
        """Return (1, C, h, w) float32, the most likely latents of `x` (1, 3, H, W) in [-1, 1].

        Args:
            x: whose sides are multiples of the factor.
            tile: side in pixels of the tiles to encode it in.
        """
        vae, x = self.vae, x.to(self._weight)
        z = tiled(lambda part: vae.encode(part).mode(), x, tile, _overlap(tile)) if tile else vae.encode(x).mode()
        return z.float() * self.scaling

    def images(self, latents: Tensor, seamless: str | None = None, tile: int | None = None) -> list[Image.Image]:
        """Return the images of `latents` (B, C, h, w), one at a time, so that none depends on its neighbours.

        Raises:
            PictureFailed: the pixels are not finite.
        """
        with meeting(seamless):
            return [image(self._decoded(latent, tile)) for latent in latents.split(1)]

    def _decoded(self, latent: Tensor, tile: int | None) -> Tensor:
        vae, z = self.vae, (latent / self.scaling).to(self._weight)
        x = (tiled(vae.decode, z, tile // self.factor, _overlap(tile) // self.factor) if tile else vae.decode(z))[0]
        if not x.isfinite().all():
            dtype = str(x.dtype).removeprefix("torch.")
            raise PictureFailed(f"{self.name} in {dtype} gave pixels that are no numbers. Load it in float32.")
        return x

    @property
    def _weight(self) -> Tensor:
        return next(self.vae.parameters())


def image(x: Tensor) -> Image.Image:
    """Return the image of `x` (3, H, W) in [-1, 1]."""
    levels = ((x.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def pixels(image: Image.Image) -> Tensor:
    """Return (1, 3, H, W) float32 in [-1, 1]."""
    levels = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32))
    return (levels / 127.5 - 1).permute(2, 0, 1)[None]


def _overlap(tile: int) -> int:
    """Return how far tiles overlap, in pixels: a quarter, in whole latents of any model."""
    return max(32, tile // 128 * 32)
