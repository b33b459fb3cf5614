"""What a picture says of how it was made, as a request that makes one like it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from impasto.errors import ImpastoError, NotFound
from impasto.pictures import formats, infotext, metadata
from impasto.pictures.infotext import Infotext
from impasto.pictures.metadata import Said
from impasto.prompts.grammar import parse
from impasto.recipe import Hires, Recipe
from impasto.schema import Frozen
from impasto.server.models import Shelf
from impasto.server.pictures import Library
from impasto.server.requests import SETTINGS, GenerateRequest, HiresChoice

SEALED = "The picture keeps its recipe to itself: it carries a seal, which its maker can open."
LONGEST = 100_000
"""Characters of a text of a file that are sent back."""


class Recall(Frozen):
    """What a picture says.

    Attributes:
        source: the program that made it, in small letters; None when it says nothing.
        request: what to ask for to make it again, or one like it; empty when it says nothing.
        recipe: ours, exact, where there is one.
        warnings: what it says that cannot be met here, in words.
        texts: in its file, by keyword, as they are.
    """

    source: str | None
    request: dict[str, Any]
    recipe: dict[str, Any] | None
    warnings: tuple[str, ...]
    texts: dict[str, str]


class Recaller:
    """Reads pictures, and knows which models and pictures are here."""

    def __init__(self, shelf: Shelf, library: Library) -> None:
        self._shelf, self._library = shelf, library

    def sent(self, data: bytes, pixels: int) -> Recall:
        """Return what the picture in `data`, of at most so many `pixels`, says.

        Raises:
            TooLarge: it has more.
            InvalidInput: it is not a picture, or a damaged one.
        """
        self._library.looked_at(data, pixels)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture"
            path.write_bytes(data)
            return self.read(path)

    def read(self, path: Path) -> Recall:
        """Return what the picture at `path` says."""
        said = metadata.read(path)
        texts = {key: text[:LONGEST] for key, text in formats.texts(path).items()}
        if said.recipe:
            request, warnings = self.again(said.recipe)
            return self._told("impasto", request, said, warnings, texts)
        if said.infotext:
            request, warnings = self._understood(said.infotext)
            return self._told(said.infotext.program.lower(), request, said, warnings, texts)
        if said.seal:
            return self._told("impasto", {}, said, [SEALED], texts)
        return self._told(None, {}, said, ["The picture says nothing of how it was made."], texts)

    def _told(
        self, source: str | None, request: dict[str, Any], said: Said, warnings: list[str], texts: dict[str, str]
    ) -> Recall:
        recipe = said.recipe.plain() if said.recipe else None
        return Recall(source=source, request=request, recipe=recipe, warnings=tuple(warnings), texts=texts)

    def again(self, recipe: Recipe) -> tuple[dict[str, Any], list[str]]:
        """Return the request that means `recipe`, and what of it cannot be met here."""
        plain = recipe.plain()
        request = {key: plain[key] for key in ("prompt", "seed", *SETTINGS) if plain.get(key) is not None}
        warnings: list[str] = []
        try:
            request["model"] = self._shelf.by_digest(recipe.model_digest).info.id
        except NotFound:
            warnings.append(f"The model {recipe.model_name} ({recipe.model_digest[7:17]}) is not here.")
        if recipe.start:
            image = self._library.with_pixels(recipe.start.image)
            if image:
                request["start"] = {**recipe.start.plain(), "image": image}
            else:
                warnings.append("The picture that it began with is not here.")
        if recipe.mask and "start" in request:
            request |= self._mask(recipe, warnings)
        if recipe.hires:
            request |= self._second_pass(recipe.hires, warnings)
        if recipe.adapters:
            request |= self._adapters(recipe, warnings)
        if "start" not in request:
            request.pop("extension", None)
        return request, warnings

    def _second_pass(self, hires: Hires, warnings: list[str]) -> dict[str, Any]:
        told = {key: value for key, value in hires.plain().items() if value is not None}
        told.pop("adapters", None)  # the prompt of the second pass calls them by itself
        if hires.model:
            try:
                told["model"] = self._shelf.by_digest(hires.model.identity).info.id
            except NotFound:
                warnings.append(f"The model of the second pass, {hires.model.name}, is not here.")
                return {}
        return {"hires": told}

    def _adapters(self, recipe: Recipe, warnings: list[str]) -> dict[str, Any]:
        """Return the adapters to ask for besides those that the prompt calls by itself."""
        mentioned = {mention.arguments.split(":")[0].strip() for mention in parse(recipe.prompt).mentions}
        known = self._shelf.default.paper.library
        found = []
        for use in recipe.adapters:
            try:
                same = known.adapter(use.name).digest == use.identity
            except ImpastoError:
                same = False
            if not same:
                warnings.append(f"The adapter {use.name} that it was made with is not here.")
            elif use.name not in mentioned:
                weights = {"weight": use.weight, "text_encoder": use.text_encoder}
                found.append({"id": use.name, **{key: value for key, value in weights.items() if value is not None}})
        return {"adapters": found} if found else {}

    def _mask(self, recipe: Recipe, warnings: list[str]) -> dict[str, Any]:
        assert recipe.mask
        if recipe.mask.image is None:
            return {"mask": recipe.mask.plain()}
        image = self._library.with_pixels(recipe.mask.image)
        if image is None:
            warnings.append("The mask that it was painted with is not here.")
            return {}
        return {"mask": {**recipe.mask.plain(), "image": image}}

    def _understood(self, found: Infotext) -> tuple[dict[str, Any], list[str]]:
        choices = infotext.choices(found)
        warnings = list(self._unmet(found))
        request: dict[str, Any] = {"prompt": found.prompt}
        for key, value in choices.items():
            if key in GenerateRequest.model_fields and _fits(key, value):
                request[key] = value
            else:
                warnings.append(f"{key} is {value!r:.60} there, which is not possible here.")
        if "model" not in request and (model := self._named(found)):
            request["model"] = model
        return request, warnings

    def _named(self, found: Infotext) -> str | None:
        for name in (found.parameters.get("Model hash"), found.parameters.get("Model")):
            try:
                return self._shelf.find(name).info.id if name else None
            except NotFound:
                continue
        return None

    def _unmet(self, found: Infotext) -> Iterator[str]:
        if (model := found.parameters.get("Model")) and self._named(found) is None:
            yield f"The model {model:.100} is not here."
        if "Denoising strength" in found.parameters and "Hires upscale" not in found.parameters:
            yield "It was made from another picture, which its text does not hold."
        if "Lora hashes" in found.parameters:
            yield f"It was made with adapters, which may be others here: {found.parameters['Lora hashes']:.200}."


def _fits(key: str, value: Any) -> bool:
    """Whether `value` can be asked for under `key`."""
    if key == "hires" and isinstance(value, dict) and not value.keys() <= HiresChoice.model_fields.keys():
        return False
    try:
        GenerateRequest.model_validate({"prompt": "", key: value})
    except ValueError:
        return False
    return True
