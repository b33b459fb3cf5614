"""Pictures of the library in other formats: the same texts inside, and signed again where they were signed.

A credential binds the bytes of its file, so that another format needs another one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from impasto.errors import InvalidRecipe
from impasto.pictures import formats
from impasto.recipe import Recipe
from impasto.rights import credentials
from impasto.server.answers import Delivered
from impasto.server.service import Service

ENDINGS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def exported(service: Service, one: Delivered, format: str, quality: int | None = None) -> bytes:  # noqa: A002 - its name
    """Return the file of a picture as `format`.

    Args:
        service: whose picture it is.
        one: the picture.
        format: a key of `ENDINGS`.
        quality: 0 to 100, of JPEG and lossy WebP; None for 95, and WebP that keeps every pixel.
    """
    if one.path.suffix == ENDINGS[format]:
        return one.path.read_bytes()
    image, told = formats.open_image(one.path), formats.texts(one.path)
    ours = {key: told[key] for key in (formats.INFOTEXT_KEY, *formats.OWN_KEYS) if key in told}
    with tempfile.TemporaryDirectory(prefix="impasto-") as folder:
        target = Path(folder) / f"picture{ENDINGS[format]}"
        formats.save(image, target, ours)
        if quality is not None:
            _save_smaller(image, target, quality)
        if one.picture.recipe and credentials.read(one.path):
            credentials.sign(target, _made(service, one, target))
        return target.read_bytes()


def _save_smaller(image: Image.Image, path: Path, quality: int) -> None:
    """Write `image` over `path` in its format with `quality`, the texts in it kept."""
    with Image.open(path) as first:
        kind, carried = first.format, {key: first.info[key] for key in ("exif", "xmp") if key in first.info}
    image.save(path, format=kind, quality=quality, **carried)


def _made(service: Service, one: Delivered, path: Path) -> credentials.Made:
    recipe: dict[str, Any] = one.picture.recipe or {}
    receipt = service.shelf.by_digest(one.picture.model_digest).checkpoint.receipt
    return credentials.Made(
        formats.open_image(path),
        Recipe.parse(recipe, "The picture's recipe", InvalidRecipe),
        [receipt] if receipt else [],
        sources=[one.path],
        edited=False,
    )
