"""Pictures as other programs send them: text to bytes, and what they mean by a mask and by a size."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from impasto.errors import InvalidInput

Framing = Literal["stretch", "crop", "fill"]
LANCZOS = Image.Resampling.LANCZOS
OPAQUE = 128
MULTIPLE = 8
"""Sides of pictures are whole multiples of this many pixels."""

DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*,", re.ASCII)


def from_text(text: str, field: str) -> bytes:
    """Return the file that `text` is, in base64 or as a `data:` URI; `field` names its origin in messages.

    Raises:
        InvalidInput: it is neither, or the address of a picture, which is not fetched.
    """
    if text[:8].lower().startswith(("http://", "https:/", "file:")):
        raise InvalidInput(f"{field}: pictures are not fetched from addresses. Send the picture itself, in base64.")
    match = DATA_URI.match(text[:200])
    body = text[match.end() :] if match else text
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{field} is not base64: {body[:40]!r}.") from error


def to_text(data: bytes) -> str:
    """Return `data` in base64."""
    return base64.b64encode(data).decode("ascii")


def alpha_mask(image: Image.Image) -> Image.Image:
    """Return the mask, white where to paint, that OpenAI's API means by `image`: what is transparent is painted.

    Raises:
        InvalidInput: nothing in it is transparent.
    """
    if not image.has_transparency_data:
        raise InvalidInput("mask has no transparency. Make transparent (alpha 0) what is to be painted.")
    return image.convert("RGBA").getchannel("A").point(lambda alpha: 255 * (alpha < OPAQUE))


def drawn_mask(image: Image.Image) -> Image.Image:
    """Return the mask, white where to paint, that A1111's API means by `image`: its strokes where it has any.

    A picture with transparent parts is a drawing on glass: what is opaque is painted.
    """
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            return alpha.point(lambda level: 255 * (level > OPAQUE))
    return image.convert("L")


def framed(image: Image.Image, size: tuple[int, int], framing: Framing) -> Image.Image:
    """Return `image` at `size`: stretched, cropped in the middle, or whole with its outermost pixels repeated."""
    if image.size == size or framing == "stretch":
        return image.resize(size, LANCZOS)
    if framing == "crop":
        return ImageOps.fit(image, size, LANCZOS)
    within = ImageOps.contain(image, size, LANCZOS)
    across, down = size[0] - within.width, size[1] - within.height
    margins = [(down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0)]
    pixels = np.asarray(within)
    return Image.fromarray(np.pad(pixels, margins[: pixels.ndim], mode="edge"))


def fitting(size: tuple[int, int], resolution: int) -> tuple[int, int]:
    """Return the size at which a model of `resolution` makes a picture of the proportions of `size`.

    Its area is that of a square of `resolution`, and each side at least half of it, so that a long strip is not made
    so low that nothing can be drawn on it.
    """
    scale = resolution / (size[0] * size[1]) ** 0.5
    width, height = (max(_whole(side * scale), _whole(resolution / 2)) for side in size)
    return width, height


def _whole(side: float) -> int:
    return max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE)
