"""Drawings with transparency on their way into training: where the crop lies, what is behind, which way it faces."""

from __future__ import annotations

import torch
from torch import Tensor

#: Colour names that captions and prompts use for backgrounds, with the sRGB values that training lays drawings on.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 60, 60),
    "orange": (245, 150, 60),
    "yellow": (250, 220, 80),
    "green": (80, 180, 95),
    "blue": (70, 125, 225),
    "purple": (150, 90, 200),
    "pink": (250, 165, 200),
    "brown": (140, 95, 65),
    "gray": (150, 150, 150),
    "black": (20, 20, 20),
}


def cropped(drawings: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Cut a `size` x `size` square out of each of `drawings` (B, 4, H, W), anywhere that fits."""
    batch, _, height, width = drawings.shape
    if (height, width) == (size, size):
        return drawings
    tops = torch.randint(height - size + 1, (batch,), generator=generator).tolist()
    lefts = torch.randint(width - size + 1, (batch,), generator=generator).tolist()
    corners = zip(drawings, tops, lefts, strict=True)
    return torch.stack([drawing[:, top : top + size, left : left + size] for drawing, top, left in corners])


def mirrored(pictures: Tensor, which: Tensor) -> Tensor:
    """Return `pictures` (B, ..., W) with those `which` (B,) bool says mirrored left to right."""
    shape = (-1, *[1] * (pictures.ndim - 1))
    return torch.where(which.view(shape), pictures.flip(-1), pictures)


def laid_on(drawings: Tensor, colours: Tensor) -> Tensor:
    """Lay RGBA `drawings` (B, 4, H, W) uint8 on flat `colours` (B, 3) uint8; the result is float32 within [-1, 1]."""
    alpha = drawings[:, 3:].float() / 255
    over = drawings[:, :3].float() * alpha + colours[:, :, None, None].float() * (1 - alpha)
    return over / 127.5 - 1


def white(count: int) -> Tensor:
    """Return white for `count` drawings: (count, 3) uint8."""
    return torch.full((count, 3), 255, dtype=torch.uint8)


def backgrounds(count: int, white_share: float, named_share: float, generator: torch.Generator) -> Tensor:
    """Draw a background for each of `count` drawings, (count, 3) uint8: white, a named colour, or any colour."""
    fate = torch.rand(count, generator=generator)[:, None]
    named = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)
    named = named[torch.randint(len(named), (count,), generator=generator)]
    free = torch.randint(256, (count, 3), generator=generator).to(torch.uint8)
    return torch.where(fate < white_share, white(count), torch.where(fate < white_share + named_share, named, free))
