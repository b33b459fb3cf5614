"""How far two pictures are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Difference:
    """Between two pictures of one size.

    Attributes:
        largest: difference of a channel of a pixel, 0 to 255.
        mean: over all channels of all pixels.
        share: of the pixels that differ at all, 0 to 1.
    """

    largest: int
    mean: float
    share: float

    @property
    def none(self) -> bool:
        """Whether every pixel is the same."""
        return self.largest == 0

    def __str__(self) -> str:
        if self.none:
            return "no pixel differs"
        return f"{self.share:.2%} of the pixels differ, by up to {self.largest}/255 and {self.mean:.3g}/255 on average"


def difference(one: Image.Image, other: Image.Image) -> Difference | None:
    """Return how far two pictures are apart, in RGB; None when their sizes differ."""
    if one.size != other.size:
        return None
    a, b = (np.asarray(image.convert("RGB")).astype(np.int16) for image in (one, other))
    apart = np.abs(a - b)
    return Difference(int(apart.max()), float(apart.mean()), float(apart.any(axis=2).mean()))
