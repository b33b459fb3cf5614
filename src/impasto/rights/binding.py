"""What a soft binding binds: a picture without metadata to its recipe, by a code that is the recipe's own."""

from __future__ import annotations

from impasto.recipe import Recipe

SCHEME = "gaussian-shading/1"
"""As recipes name it; `watermark` says what it does."""

ALGORITHM = "org.impasto.gaussian-shading.1"
"""As content credentials name it."""

BITS = 20
"""Of a code: two pictures share one with a chance of one in a million."""


def code_of(recipe: Recipe) -> int:
    """Return the code of the picture of `recipe`: the beginning of its digest."""
    return int(recipe.digest.removeprefix("sha256:")[: BITS // 4], 16)


def written(code: int) -> str:
    """Return `code` as people read it."""
    return f"{code:0{BITS // 4}x}"
