"""How alike two pictures are, as a model sees them: by its own latents and features, with nothing learned elsewhere.

Two pictures are near copies when no part of them differs: the distance is the largest over tiles, as in Carlini et al.
2301.13188 (section 4.2), taken on the latents of the model's autoencoder. The manner of a picture is the mean and
deviation of each channel inside the model's own UNet (IntroStyle, Kumar et al. 2412.14432).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

if TYPE_CHECKING:
    from impasto.pipeline import Model

GRID = 8
"""Latents of any size are averaged to this many places a side."""

TILE, STRIDE = 4, 2

MANNER_NOISE = 0.3
"""Noise level at which the UNet looks at a picture: little, so that lines and surfaces stay."""

GROUND_TOLERANCE = 24
"""Levels of 255 by which the outer ring of a picture may vary and still be one even ground."""

BATCH = 16


def laid_plain(image: Image.Image, side: int) -> Image.Image:
    """Return `image` as RGB of `side` x `side`: transparent parts white, an even ground white too, fitted in, centred.

    What a drawing is laid on is no part of it: a copy on blue is a copy.
    """
    shown = Image.new("RGBA", image.size, "white")
    shown.alpha_composite(image.convert("RGBA"))
    plain = _on_white(np.asarray(shown.convert("RGB"), np.float32))
    fitted = ImageOps.contain(Image.fromarray(plain), (side, side), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (side, side), "white")
    square.paste(fitted, ((side - fitted.width) // 2, (side - fitted.height) // 2))
    return square


def _on_white(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W, 3) `pixels` (float32, 0 to 255) with an even ground made white, edges mixed anew."""
    ring = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])  # (R, 3)
    ground = np.median(ring, axis=0)
    even = np.mean(np.abs(ring - ground).max(axis=1) <= GROUND_TOLERANCE) >= 0.9
    if even and np.any(ground < 255 - GROUND_TOLERANCE):
        share = np.clip(1 - np.abs(pixels - ground).max(axis=2, keepdims=True) / 64, 0, 1)  # of the ground in a pixel
        pixels = pixels + share * (255 - ground)
    return pixels.clip(0, 255).round().astype(np.uint8)


class Likeness:
    """A model as a judge of likeness.

    Attributes:
        model: whose autoencoder and UNet look.
        side: of the square that pictures are fitted into, in pixels.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.side = model.spec.resolution

    @torch.inference_mode()
    def encoded(self, images: Sequence[Image.Image]) -> Tensor:
        """Return the model's own latents (N, C, h, w) float32 of `images`, laid plain."""
        return torch.cat([self.model.encode(laid_plain(image, self.side)) for image in images]).float()

    def shape(self, latents: Tensor) -> Tensor:
        """Return (N, C, GRID, GRID) float32 on the CPU: what `latents` (N, C, h, w) show, and where."""
        return F.adaptive_avg_pool2d(latents, GRID).cpu()

    @torch.inference_mode()
    def manner(self, latents: Tensor) -> Tensor:
        """Return (N, F) float32 on the CPU, of `latents` (N, C, h, w): how they are drawn.

        Mean and deviation of every channel that leaves a level of the UNet going up.
        """
        return torch.cat([self._manner(part) for part in latents.split(BATCH)])

    def _manner(self, x0: Tensor) -> Tensor:
        model, unet = self.model, self.model.networks.unet
        dtype = next(unet.parameters()).dtype
        noise = torch.randn(x0.shape[1:], generator=torch.Generator().manual_seed(0)).to(x0)
        x = (x0 + MANNER_NOISE * noise) * (1 + MANNER_NOISE**2) ** -0.5
        missing = unet.config.in_channels - x.shape[1]  # an inpainting model is shown that nothing is masked
        x = torch.cat([x, x.new_zeros(len(x), missing, *x.shape[2:])], 1)
        t = torch.full((len(x),), float(model.schedule.timestep(torch.tensor(MANNER_NOISE))), device=x.device)
        seen: list[Tensor] = []
        hooks = [level.register_forward_hook(lambda *call: seen.append(call[-1].float())) for level in unet.up_blocks]
        try:
            unet(x.to(dtype), t, _wordless(model).to(x.device, dtype).expand(len(x), -1, -1))
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([part for level in seen for part in (level.mean((2, 3)), level.std((2, 3)))], 1).cpu()


def _wordless(model: Model) -> Tensor:
    """Return the context (1, T, D) of no words."""
    encoder, tokenizer = model.networks.text_encoder, model.networks.tokenizer
    ids = tokenizer.pad([], encoder.config.max_position_embeddings)
    context: Tensor = encoder(torch.tensor([ids], device=model.device))
    return context


def tiled_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the largest root-mean-square difference over tiles of `TILE` x `TILE` places, `STRIDE` apart.

    Args:
        x: (..., C, GRID, GRID).
        y: the same, or of a shape that broadcasts with it.

    Returns:
        (...), in the latents' own unit.
    """
    squares = (x - y).square().mean(-3)  # (..., GRID, GRID)
    flat = squares.flatten(0, -3).unsqueeze(1) if squares.ndim > 2 else squares[None, None]
    largest = F.avg_pool2d(flat, TILE, STRIDE).amax((1, 2, 3)).sqrt()
    return largest.reshape(squares.shape[:-2])


def in_parts(images: Iterator[Image.Image], size: int = BATCH) -> Iterator[list[Image.Image]]:
    """Yield `images` in lists of `size`."""
    part: list[Image.Image] = []
    for image in images:
        part.append(image)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
