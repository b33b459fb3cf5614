"""From drawings to stored images: SVG through resvg, image files as they are or fitted to a square.

RGBA is kept, so that training can lay a drawing on any background. resvg reads no fonts, no files and no network here,
and its own PNG encoder is pinned with it: the same drawing gives the same bytes on every machine.
"""

from __future__ import annotations

import io
import multiprocessing
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from impasto.corpus.candidates import Raster, Svg
from impasto.corpus.dedup import Fingerprint, fingerprint
from impasto.corpus.policy import Refusal
from impasto.corpus.record import Image
from impasto.corpus.store import upright
from impasto.schema import bytes_digest

MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_OUTSIDE = re.compile(
    r"<\s*(image|feImage|text|textPath|foreignObject|script)\b|<!ENTITY"
    r"|href\s*=\s*[\"'](?!#)|url\(\s*[\"']?(?!#)|@import",
    re.IGNORECASE,
)
_VISIBLE = 16  # of 255: alpha from which a pixel counts as drawn on


@dataclass(frozen=True)
class Rendered:
    """A stored image and what is needed to compare it with others."""

    data: bytes
    image: Image
    fingerprint: Fingerprint


def render_all(drawings: Iterable[Svg | Raster], size: int | None, workers: int) -> Iterator[Rendered | Refusal]:
    """Yield the image of each drawing, in order, made by `workers` processes (1 = in this process)."""
    draw = partial(render, size=size)
    if workers <= 1:
        yield from map(draw, drawings)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(draw, drawings, chunksize=64)


def render(drawing: Svg | Raster, size: int | None) -> Rendered | Refusal:
    """Return the stored image of `drawing`, or the reason why there is none.

    Args:
        drawing: what a source offered.
        size: side of the square it is fitted to, aspect ratio kept, centred on transparent; None keeps an image file
            byte for byte (an SVG needs a size).
    """
    try:
        data = render_svg(drawing.text, size) if isinstance(drawing, Svg) else fit(drawing.data, size)
        with Pillow.open(io.BytesIO(data)) as opened:
            media_type, rgba = MEDIA_TYPES[opened.format or ""], upright(opened)
    except Exception as error:  # a decoder may raise anything on a broken file; whatever it is, the file is unreadable
        return Refusal(rule="unreadable", reason=f"Cannot be drawn: {error}".splitlines()[0][:200])
    prints = fingerprint(rgba)
    image = Image(
        id=bytes_digest(data),
        phash=prints.phash,
        width=rgba.width,
        height=rgba.height,
        bytes=len(data),
        media_type=media_type,
        ink=round(float((np.asarray(rgba)[..., 3] >= _VISIBLE).mean()), 4),
    )
    return Rendered(data, image, prints)


def render_svg(svg: str, size: int | None) -> bytes:
    """Return a `size` x `size` RGBA PNG of `svg`, aspect ratio kept, centred on transparent.

    Raises:
        ValueError: not an SVG, no size, or it draws on something outside itself (files, fonts, scripts).
    """
    import resvg_py  # of an extra, wanted only here: a folder of photographs needs none

    if size is None:
        raise ValueError("a vector drawing needs a size")
    if found := _OUTSIDE.search(svg):
        raise ValueError(f"it draws on something outside itself ({found.group(0)!r})")
    data = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True))
    with Pillow.open(io.BytesIO(data)) as opened:
        square = opened.size == (size, size)
    return data if square else fit(data, size)


def fit(data: bytes, size: int | None) -> bytes:
    """Return the image file `data` as it is, or fitted to a transparent square of `size` pixels as PNG.

    Raises:
        ValueError: not a PNG, JPEG or WebP image, or animated.
    """
    with _opened(data) as opened:
        if opened.format not in MEDIA_TYPES or getattr(opened, "is_animated", False):
            raise ValueError(f"not a still image in one of {', '.join(MEDIA_TYPES)}")
        rgba = upright(opened)
    if size is None:
        return data
    rgba.thumbnail((size, size), Pillow.Resampling.LANCZOS)
    square = Pillow.new("RGBA", (size, size))
    square.paste(rgba, ((size - rgba.width) // 2, (size - rgba.height) // 2))
    file = io.BytesIO()
    square.save(file, "PNG")
    return file.getvalue()


def _opened(data: bytes) -> Pillow.Image:
    try:
        return Pillow.open(io.BytesIO(data))
    except UnidentifiedImageError:  # whose message holds an address in memory: no two alike
        raise ValueError("not an image file") from None
