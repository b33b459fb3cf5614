"""What can be said of a picture without a judge: its ground, its colours, how many things stand on white.

Colours are compared in CIELAB under D65 (CIE 15; sRGB by IEC 61966-2-1) by plain distance (CIE 1976). A pixel has the
name of the nearest of Impasto's ten named colours and white.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from impasto.training.drawings import COLOURS

RING = 3  # pixels at the edge that tell what a picture stands on
NEAR = 12.0  # distance up to which a pixel that hangs together with the edge belongs to a white ground
SMALLEST_PART = 0.01  # of the picture: smaller specks are no things

NAMES = (*COLOURS, "white")

Mask = npt.NDArray[np.bool_]


def lab(pictures: Tensor) -> Tensor:
    """Return the CIELAB values (B, 3, H, W) of sRGB `pictures` (B, 3, H, W) within [-1, 1]."""
    srgb = (pictures.double() / 2 + 0.5).clamp(0, 1)
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = torch.tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
        dtype=torch.float64,
    )
    xyz = torch.einsum("ij,bjhw->bihw", to_xyz, linear) / to_xyz.sum(1)[None, :, None, None]
    root = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-9) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1).float()


def named(pictures: Tensor) -> Tensor:
    """Return for each pixel of `pictures` (B, 3, H, W) within [-1, 1] the index (B, H, W) in `NAMES` of its colour."""
    values = lab(pictures).permute(0, 2, 3, 1)  # (B, H, W, 3)
    return torch.cdist(values.flatten(0, 2), _palette()).argmin(1).view(values.shape[:3])


def grounds(pictures: Tensor) -> list[str]:
    """Return what each of `pictures` (B, 3, H, W) stands on: the colour that most pixels of its outer ring have."""
    ring = torch.ones(pictures.shape[2:], dtype=torch.bool)
    ring[RING:-RING, RING:-RING] = False
    counts = torch.nn.functional.one_hot(named(pictures)[:, ring], len(NAMES)).sum(1)
    return [NAMES[index] for index in counts.argmax(1).tolist()]


def foreground(pictures: Tensor) -> list[Mask]:
    """Return the pixels (H, W) that are drawn on in each of `pictures` (B, 3, H, W) that stand on white.

    The ground is all that is nearly white and hangs together with the edge; white inside a drawing belongs to it.
    """
    white = torch.tensor([100.0, 0.0, 0.0])[None, :, None, None]
    nearly_white = ((lab(pictures) - white).square().sum(1).sqrt() <= NEAR).numpy()
    return [~_at_the_edge(mask) for mask in nearly_white]


def things(mask: Mask) -> int:
    """Return how many parts of a `foreground` do not touch, specks left out."""
    areas = np.bincount(ndimage.label(mask, np.ones((3, 3)))[0].ravel())[1:]
    return int((areas >= SMALLEST_PART * mask.size).sum())


def shares(pictures: Tensor) -> list[dict[str, float]]:
    """Return, for each of `pictures` (B, 3, H, W) on white, what share of its foreground has which named colour."""
    found = []
    for names, mask in zip(named(pictures).numpy(), foreground(pictures), strict=True):
        counts = np.bincount(names[mask], minlength=len(NAMES))
        found.append(dict(zip(NAMES, (counts / max(1, counts.sum())).tolist(), strict=True)))
    return found


def _at_the_edge(mask: Mask) -> Mask:
    parts, _ = ndimage.label(mask)
    at_edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    found: Mask = np.isin(parts, at_edge[at_edge > 0])
    return found


def _palette() -> Tensor:
    rgb = torch.tensor([*COLOURS.values(), (255, 255, 255)]) / 127.5 - 1  # (11, 3)
    return lab(rgb.T[None, :, :, None])[0, :, :, 0].T  # (11, 3)
