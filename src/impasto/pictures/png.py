"""PNG files that carry their recipe: as A1111's `parameters` text for other programs, and exactly, as canonical JSON.

Pillow writes a text chunk as tEXt when it is Latin-1 and as iTXt (UTF-8) otherwise; both are read, and zTXt.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile, PngInfo

from impasto.errors import InvalidRecipe, NotFound
from impasto.files import written_whole
from impasto.pictures import infotext
from impasto.recipe import Recipe

RECIPE_KEY = "impasto"
INFOTEXT_KEY = "parameters"


def save(image: Image.Image, path: Path, recipe: Recipe | None = None) -> None:
    """Write `image` to `path` as PNG, whole or not at all, with `recipe` inside."""
    with written_whole(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=_chunks(recipe) if recipe else None)


def _chunks(recipe: Recipe) -> PngInfo:
    chunks = PngInfo()
    chunks.add_itxt(RECIPE_KEY, recipe.canonical().decode("utf-8"))
    chunks.add_text(INFOTEXT_KEY, infotext.write(recipe))
    return chunks


def read_text(path: Path) -> dict[str, str]:
    """Return the text chunks of the PNG file at `path`, by keyword.

    Raises:
        NotFound: no such file.
        InvalidRecipe: not a PNG file, or one that is damaged.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            assert isinstance(image, PngImageFile)
            return {key: str(text) for key, text in image.text.items()}
    except UnidentifiedImageError as error:
        raise InvalidRecipe(f"{path} is not a PNG file.") from error
    except (ValueError, SyntaxError) as error:
        raise InvalidRecipe(f"{path} is a damaged PNG file: {error}") from error
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror or error}.") from error


def read_recipe(path: Path) -> Recipe:
    """Return the recipe inside the PNG file at `path`.

    Raises:
        NotFound: no such file.
        InvalidRecipe: there is no recipe in it, or not a valid one.
    """
    text = read_text(path).get(RECIPE_KEY)
    if text is None:
        raise InvalidRecipe(
            f"{path} carries no recipe: it has no {RECIPE_KEY!r} text. Was it saved by another program?"
        )
    return Recipe.from_json(text, f"The recipe in {path}")
