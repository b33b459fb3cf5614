"""Aspect-ratio buckets: pictures of any shape in a few sizes of about one area, so that little is cut off.

The rules are those of kohya's sd-scripts (docs/train_network.md, `library/model_util.py`), so that what people know of
their buckets holds here: sides are whole steps, from half the resolution to twice it; a picture is resized until it
covers the bucket nearest to its own shape and is cut to it around the middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from PIL import Image
from pydantic import Field

from impasto.schema import Frozen

Size = tuple[int, int]
"""Width and height in pixels."""


class BucketPlan(Frozen):
    """In which sizes pictures are learned.

    Attributes:
        shapes: whether pictures keep about their own shape; else all are cut to squares.
        step: sides are multiples of this; None for 64, or what the model needs where that is another number.
        upscale: whether pictures smaller than the resolution are enlarged; else they are learned at their own size.
    """

    shapes: bool = True
    step: Annotated[int, Field(ge=8, le=512)] | None = None
    upscale: bool = True


@dataclass(frozen=True)
class Fit:
    """What becomes of a picture.

    Attributes:
        resized: its size before it is cut.
        bucket: its size after that.
    """

    resized: Size
    bucket: Size

    @property
    def corner(self) -> Size:
        """Left and top of what is kept, in the resized picture."""
        return (self.resized[0] - self.bucket[0]) // 2, (self.resized[1] - self.bucket[1]) // 2

    def __call__(self, picture: Image.Image, resample: Image.Resampling = Image.Resampling.LANCZOS) -> Image.Image:
        """Return `picture` resized and cut."""
        left, top = self.corner
        sized = picture if picture.size == self.resized else picture.resize(self.resized, resample)
        return sized.crop((left, top, left + self.bucket[0], top + self.bucket[1]))


def buckets(resolution: int, step: int) -> list[Size]:
    """Return every bucket of about `resolution` squared pixels, sides multiples of `step`, in order of their shape."""
    area = (resolution // step) ** 2  # in squares of the step
    shortest, longest = max(step, resolution // 2 // step * step), 2 * resolution // step * step
    found = {(resolution // step * step,) * 2}
    for side in range(shortest, longest + 1, step):
        other = min(longest, area // (side // step) * step)
        if other >= shortest:
            found |= {(side, other), (other, side)}
    return sorted(found, key=lambda size: (size[0] / size[1], size))


def fit(size: Size, resolution: int, step: int, plan: BucketPlan) -> Fit:
    """Return what becomes of a picture of `size` under `plan`."""
    if not plan.shapes:
        side = resolution // step * step
        if not plan.upscale:
            side = max(step, min(side, *(length // step * step for length in size)))
        return _covering(size, (side, side))
    if not plan.upscale:
        return _shrunk(size, resolution, step)
    shape = size[0] / size[1]
    return _covering(size, min(buckets(resolution, step), key=lambda bucket: abs(bucket[0] / bucket[1] - shape)))


def _covering(size: Size, bucket: Size) -> Fit:
    """Return the smallest size of the picture's own shape that covers `bucket`."""
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    width, height = (max(side, int(length * scale + 0.5)) for length, side in zip(size, bucket, strict=True))
    return Fit((width, height), bucket)


def _shrunk(size: Size, resolution: int, step: int) -> Fit:
    """Return the picture at its own size, or at the resolution's area where it is larger, cut to whole steps."""
    width, height = size
    if width * height > resolution**2:
        shape = width / height
        ideal = math.sqrt(resolution**2 * shape)
        by_width = max(step, int(ideal + 0.5) // step * step)
        by_height = max(step, int(ideal / shape + 0.5) // step * step)
        choices = [(by_width, int(by_width / shape + 0.5)), (int(by_height * shape + 0.5), by_height)]
        width, height = min(choices, key=lambda found: abs(_cut(found[0], step) / _cut(found[1], step) - shape))
    bucket = (_cut(width, step), _cut(height, step))
    return Fit((max(width, bucket[0]), max(height, bucket[1])), bucket)


def _cut(length: int, step: int) -> int:
    return max(step, length // step * step)
