"""What latents look like, next to nothing to compute: a linear map from their channels to red, green and blue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

SAMPLES = 12


@dataclass(frozen=True, eq=False)
class Projection:
    """Latents to colours.

    Attributes:
        weight: (C, 3).
        bias: (3,).
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, latents: Tensor) -> list[Image.Image]:
        """Return small pictures, a pixel a latent, of `latents` (B, C, H, W)."""
        colours = torch.einsum("bchw,cr->bhwr", latents.float().cpu(), self.weight) + self.bias
        levels = ((colours.nan_to_num() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return [Image.fromarray(picture.numpy()) for picture in levels]


def fitted(encode: Callable[[Tensor], Tensor], side: int) -> Projection:
    """Return the projection that comes nearest, in least squares, to pictures made of soft colours and edges.

    Args:
        encode: pictures (1, 3, S, S) in [-1, 1] to latents (1, C, s, s).
        side: S.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    latents, colours = [], []
    for k in range(SAMPLES):
        coarse = torch.rand(1, 3, 2 + k % 5, 2 + k % 5, generator=generator) * 2 - 1
        picture = F.interpolate(coarse, (side, side), mode="nearest" if k % 2 else "bilinear")
        z = encode(picture).float().cpu()
        latents.append(z.flatten(2)[0].T)  # (s * s, C)
        colours.append(F.adaptive_avg_pool2d(picture, (z.shape[2], z.shape[3])).flatten(2)[0].T)  # (s * s, 3)
    inputs = torch.cat([torch.cat(latents), torch.ones(sum(map(len, latents)), 1)], dim=1)
    # Ridge: channels that say nothing about colours would otherwise get wild weights.
    gram = inputs.T @ inputs + 1e-3 * len(inputs) * torch.eye(inputs.shape[1])
    solution = torch.linalg.solve(gram, inputs.T @ torch.cat(colours))
    return Projection(solution[:-1], solution[-1])
