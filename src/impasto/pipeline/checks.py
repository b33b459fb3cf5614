"""Whether a model can run recipes, found out before anything is calculated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from impasto.errors import InvalidRecipe
from impasto.pipeline.calls import uncalled
from impasto.recipe import Recipe

if TYPE_CHECKING:
    from impasto.pipeline.model import Model

OWN = ("prompt", "negative_prompt", "seed", "variation", "draw", "embeddings")
SHARED = tuple(key for key in Recipe.model_fields if key not in OWN)
"""What the recipes of one batch have in common."""


def check(model: Model, recipes: Sequence[Recipe]) -> None:
    """Check that `model` can run `recipes` as one batch.

    Raises:
        InvalidRecipe: it cannot, or they are unlike; says why.
        NotFound: an adapter or embedding that they name is not there; lists those there are.
    """
    if not recipes:
        raise InvalidRecipe("There is no recipe to run. Give one or more.")
    unlike = [key for key in SHARED if any(getattr(recipe, key) != getattr(recipes[0], key) for recipe in recipes)]
    if unlike:
        raise InvalidRecipe(f"The recipes of one batch must not differ in {', '.join(unlike)}. Run them apart.")
    if problem := next(_problems(model, recipes[0]), None):
        raise InvalidRecipe(problem)
    for recipe in recipes:
        _check_calls(model, recipe)


def _check_calls(model: Model, recipe: Recipe) -> None:
    if missing := list(uncalled(recipe)):
        raise InvalidRecipe(
            f"The prompt calls {', '.join(missing)}, which the recipe's adapters do not name. "
            f"`Model.recipe` makes recipes that do."
        )
    for use in (*recipe.adapters, *((recipe.hires and recipe.hires.adapters) or ())):
        model.library.used(use)
    for embedding in recipe.embeddings:
        model.library.meant(embedding)


def _problems(model: Model, recipe: Recipe) -> Iterator[str]:
    if recipe.model_digest != model.digest:
        yield (
            f"The recipe is for the model {recipe.model_name!r} ({recipe.model_digest}), "
            f"not for {model.name!r} ({model.digest}); the picture would be another one."
        )
    factor, layers = model.spec.vae.factor, model.spec.text.num_hidden_layers
    for sized in (recipe, recipe.hires):
        if sized and (sized.width % factor or sized.height % factor):
            size = f"{sized.width}x{sized.height}"
            yield f"{model.name} makes pictures with sides that are multiples of {factor}, not {size}."
    asked = recipe.hires and recipe.hires.model
    if asked and (model.second is None or model.second.digest != asked.identity):
        yield f"The second pass is by {asked.name!r} ({asked.identity}). Give that model with `Model.followed_by`."
    if recipe.dtype != model.dtype:
        yield f"The recipe is in {recipe.dtype}; the model was loaded in {model.dtype}. Load it in {recipe.dtype}."
    if recipe.clip_skip > layers:
        yield f"clip_skip {recipe.clip_skip} is not possible: {model.name}'s text encoder has {layers} layers."
    if model.inpaints and recipe.mask is None:
        yield f"{model.name} fills in parts of a given picture; it does not make one from words alone."
