"""The picture that is painted on: masked, cropped, extended, made ready for a model, and put together again after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from impasto.errors import InvalidRecipe
from impasto.recipe import Extension, Recipe

Box = tuple[int, int, int, int]
LANCZOS = Image.Resampling.LANCZOS


@dataclass(frozen=True, eq=False)
class Canvas:
    """What a model works on.

    Attributes:
        image: RGB, of the recipe's size.
        mask: L of the same size, 255 where to paint and nothing between; None to paint everywhere.
        whole: the picture that the result is put into; None when the result is the picture.
        passage: L of the size of `whole`, how much of the result shows where.
        box: of `whole` that `image` is.
    """

    image: Image.Image
    mask: Image.Image | None = None
    whole: Image.Image | None = None
    passage: Image.Image | None = None
    box: Box | None = None

    def finished(self, painted: Image.Image) -> Image.Image:
        """Return `painted` put where it belongs, the picture around it untouched."""
        if self.whole is None or self.passage is None or self.box is None:
            return painted
        layer = self.whole.copy()
        size = (self.box[2] - self.box[0], self.box[3] - self.box[1])
        layer.paste(painted if painted.size == size else painted.resize(size, LANCZOS), self.box)
        return Image.composite(layer, self.whole, self.passage)


def prepared(recipe: Recipe, sources: Mapping[str, Image.Image]) -> Canvas | None:
    """Return the canvas for `recipe`, from the `sources` by digest; None for a recipe that begins with noise.

    Raises:
        InvalidRecipe: a picture or mask is not among the sources, or a mask leaves nothing to paint.
    """
    if recipe.start is None:
        return None
    image = flat(_source(recipe.start.image, "start image", sources))
    size = (recipe.width, recipe.height)
    mask = _mask(recipe, image.size, sources)
    if recipe.extension:
        image = extended(image, recipe.extension)
    if mask is None or recipe.mask is None:
        return Canvas(_fitted(image, size))
    if mask.getbbox() is None:
        raise InvalidRecipe("The mask leaves nothing to paint. Give one with white in it, or invert it.")
    soft = mask.filter(ImageFilter.GaussianBlur(recipe.mask.blur)) if recipe.mask.blur else mask
    if recipe.mask.area == "masked":
        box = crop_box(soft, recipe.mask.padding, size)
    else:
        image, soft = _fitted(image, size), _fitted(soft, size)
        box = (0, 0, *size)
    hard = _fitted(soft.crop(box), size).point(lambda level: 255 * (level >= 128))
    part = _fitted(image.crop(box), size)
    return Canvas(filled(part, hard) if recipe.mask.content == "fill" else part, hard, image, soft, box)


def _source(digest: str, what: str, sources: Mapping[str, Image.Image]) -> Image.Image:
    if digest not in sources:
        raise InvalidRecipe(f"The recipe needs its {what}, with the digest {digest}. Give the picture that it was.")
    return sources[digest]


def flat(image: Image.Image) -> Image.Image:
    """Return `image` as RGB, what is transparent in it white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert("RGB")


def _mask(recipe: Recipe, size: tuple[int, int], sources: Mapping[str, Image.Image]) -> Image.Image | None:
    if recipe.mask is None:
        return None
    given = Image.new("L", size)
    if recipe.mask.image:
        given = _fitted(_source(recipe.mask.image, "mask", sources).convert("L"), size)
        given = ImageOps.invert(given) if recipe.mask.invert else given
    return _extended_mask(given, recipe.extension) if recipe.extension else given


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, LANCZOS)


def extended(image: Image.Image, by: Extension) -> Image.Image:
    """Return `image` with its outermost pixels repeated on each side."""
    margins = ((by.top, by.bottom), (by.left, by.right), (0, 0))
    return Image.fromarray(np.pad(np.asarray(image), margins, mode="edge"))


def _extended_mask(mask: Image.Image, by: Extension) -> Image.Image:
    size = (mask.width + by.left + by.right, mask.height + by.top + by.bottom)
    wide = Image.new("L", size, 255)
    wide.paste(mask, (by.left, by.top))
    return wide


def crop_box(mask: Image.Image, padding: int, size: tuple[int, int]) -> Box:
    """Return the part of a picture to work on: the mask's, padded, in the proportions of `size` as far as it fits."""
    left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
    left, right = max(left - padding, 0), min(right + padding, mask.width)
    top, bottom = max(top - padding, 0), min(bottom + padding, mask.height)
    width = max(right - left, round((bottom - top) * size[0] / size[1]))
    height = max(bottom - top, round((right - left) * size[1] / size[0]))
    left, right = _widened(left, right, width, mask.width)
    top, bottom = _widened(top, bottom, height, mask.height)
    return left, top, right, bottom


def _widened(low: int, high: int, length: int, limit: int) -> tuple[int, int]:
    length = min(length, limit)
    low = min(max(low - (length - (high - low)) // 2, 0), limit - length)
    return low, low + length


def filled(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return `image` with what surrounds the white part of `mask` smeared into it, coarsely first and finely last."""
    kept = Image.composite(Image.new("RGBA", image.size), image.convert("RGBA"), mask).convert("RGBa")
    result = Image.new("RGBa", image.size)
    for radius in (256, 64, 16, 4, 2):
        layer = kept.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        opaque = layer.getchannel("A").point(lambda level: min(255, level * 8))
        layer.putalpha(opaque)
        result = Image.alpha_composite(result.convert("RGBA"), layer).convert("RGBa")
    smeared = flat(result.convert("RGBA"))
    return Image.composite(smeared, image, mask)


def latent_mask(mask: Image.Image, factor: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return (H / factor, W / factor) of 0 and 1: where at least half of the pixels are to be painted."""
    small = mask.resize((mask.width // factor, mask.height // factor), Image.Resampling.BOX)
    return (np.asarray(small) >= 128).astype(np.float32)
