"""PNG files that carry their recipe: as A1111's `parameters` text for other programs, and exactly, as canonical JSON.

Pillow writes a text chunk as tEXt when it is Latin-1 and as iTXt (UTF-8) otherwise; both are read, and zTXt.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from impasto.errors import InvalidRecipe
from impasto.pictures import formats, infotext
from impasto.recipe import Recipe

RECIPE_KEY = "impasto"
INFOTEXT_KEY = formats.INFOTEXT_KEY


def save(image: Image.Image, path: Path, recipe: Recipe | None = None) -> None:
    """Write `image` to `path` as PNG, whole or not at all, with `recipe` inside.

    Raises:
        InvalidInput: `path` does not end in `.png` or another format's ending.
    """
    texts = {RECIPE_KEY: recipe.canonical().decode("utf-8"), INFOTEXT_KEY: infotext.write(recipe)} if recipe else None
    formats.save(image, path, texts)


def read_recipe(path: Path) -> Recipe:
    """Return the recipe inside the picture file at `path`, PNG or not.

    Raises:
        NotFound: no such file.
        InvalidRecipe: there is no recipe in it, or not a valid one.
    """
    text = formats.texts(path).get(RECIPE_KEY)
    if text is None:
        raise InvalidRecipe(
            f"{path} carries no recipe: it has no {RECIPE_KEY!r} text. Was it saved by another program?"
        )
    return Recipe.from_json(text, f"The recipe in {path}")
