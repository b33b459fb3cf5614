"""What the prompts of a recipe call by name: adapters and embeddings, each found and named with its digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from impasto.pipeline.library import Library
from impasto.pipeline.words import Reading, Words
from impasto.prompts.grammar import Run, parse, parse_negative
from impasto.prompts.mentions import Mention, adapter_calls, refuse_in_negative
from impasto.recipe import AdapterUse, Recipe


def identified(choices: Mapping[str, Any], library: Library) -> dict[str, Any]:
    """Return the `choices` of a recipe with the digest of each adapter that is only named there.

    Raises:
        NotFound: there is no adapter of that name; lists those there are.
    """
    adapters = choices.get("adapters")
    if not isinstance(adapters, Sequence) or isinstance(adapters, str):
        return dict(choices)

    def one(use: Any) -> Any:
        if not isinstance(use, Mapping) or use.get("identity") or not isinstance(use.get("name"), str):
            return use
        return {**use, "identity": library.adapter(use["name"]).digest}

    return {**choices, "adapters": [one(use) for use in adapters]}


def called(recipe: Recipe, library: Library, words: Words) -> Recipe:
    """Return `recipe` with the adapters and embeddings that its prompts call.

    An adapter that a prompt calls is used as the prompt says, whatever the recipe said of it before.

    Raises:
        NotFound: a prompt calls what is not there; lists what there is.
        InvalidRecipe: a call that says nothing, or one in a negative prompt.
    """
    refuse_in_negative([mention for text in _negatives(recipe) for mention in parse_negative(text).mentions])
    mentions = parse(recipe.prompt).mentions
    adapters = _with(recipe.adapters, mentions, library)
    update: dict[str, Any] = {"adapters": adapters, "embeddings": words.named(_readings(recipe))}
    if recipe.hires and recipe.hires.prompt is not None:
        asked = {use.name for use in _uses(mentions, library)}
        apart = tuple(use for use in recipe.adapters if use.name not in asked)
        second = _with(apart, parse(recipe.hires.prompt).mentions, library)
        update["hires"] = recipe.hires.model_copy(update={"adapters": second if second != adapters else None})
    return recipe.model_copy(update=update)


def uncalled(recipe: Recipe) -> Iterator[str]:
    """Yield the adapters that the prompts of `recipe` mention and that it does not name."""
    texts = {recipe.prompt: recipe.adapters}
    if recipe.hires and recipe.hires.prompt is not None:
        texts[recipe.hires.prompt] = recipe.adapters if recipe.hires.adapters is None else recipe.hires.adapters
    for text, adapters in texts.items():
        names = {use.name for use in adapters}
        for mention in parse(text).mentions:
            if mention.arguments.split(":")[0].strip() not in names:
                yield str(mention)


def _with(adapters: Sequence[AdapterUse], mentions: Sequence[Mention], library: Library) -> tuple[AdapterUse, ...]:
    uses = _uses(mentions, library)
    names = {use.name for use in uses}
    return (*(use for use in adapters if use.name not in names), *uses)


def _uses(mentions: Sequence[Mention], library: Library) -> list[AdapterUse]:
    known = library.known(mention.arguments.split(":")[0].strip() for mention in mentions)
    return [
        AdapterUse(
            name=call.name,
            identity=library.adapter(call.name).digest,
            weight=call.unet,
            text_encoder=None if call.te == call.unet else call.te,
            ranks=call.dyn,
        )
        for call in adapter_calls(mentions, known)
    ]


def _negatives(recipe: Recipe) -> Iterator[str]:
    yield recipe.negative_prompt
    if recipe.hires and recipe.hires.negative_prompt is not None:
        yield recipe.hires.negative_prompt


def _readings(recipe: Recipe) -> Iterator[Reading]:
    run = Run(recipe.steps)
    prompts = [recipe.prompt]
    if recipe.hires and recipe.hires.prompt is not None:
        prompts.append(recipe.hires.prompt)
    for text in prompts:
        yield Reading.of(recipe, text, run, ())
    for text in _negatives(recipe):
        yield Reading.of(recipe, text, run, (), negative=True)
