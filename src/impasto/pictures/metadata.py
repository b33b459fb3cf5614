"""What a picture says of how it was made: our own recipe exactly, and other programs' texts as far as they go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from impasto.errors import InvalidRecipe
from impasto.pictures import comfyui, formats, infotext, invokeai
from impasto.pictures.infotext import Hashes, Infotext
from impasto.pictures.origin import Commitment, Origin, Telling, check_telling, pixels_digest
from impasto.recipe import Recipe

Texts = Mapping[str, str]

READERS: dict[str, Callable[[Texts], Infotext | None]] = {
    "infotext": lambda texts: infotext.read(texts.get("parameters") or texts.get("comment", "")),
    "InvokeAI": lambda texts: invokeai.read(texts.get("invokeai_metadata", "")),
    "InvokeAI 2": lambda texts: invokeai.read_old(texts.get("sd-metadata", "")),
    "NovelAI": lambda texts: invokeai.read_novelai(texts.get("Comment", ""), texts.get("Description", "")),
    "ComfyUI": lambda texts: comfyui.read(texts.get("prompt", "")),
    "ComfyUI's page": lambda texts: comfyui.read_workflow(texts.get("workflow", "")),
}
"""How to read the texts of a file; the first one that finds something is believed."""


@dataclass(frozen=True)
class Said:
    """What a picture file says of how it was made.

    Attributes:
        recipe: ours, exact, where there is one.
        origin: where it was made, where the file says so.
        seal: of a recipe that its maker keeps.
        infotext: in A1111's terms, ours or another program's.
    """

    recipe: Recipe | None = None
    origin: Origin | None = None
    seal: str | None = None
    infotext: Infotext | None = None

    @property
    def nothing(self) -> bool:
        """Whether the file says nothing at all."""
        return self == Said()


def save(
    image: Image.Image,
    path: Path,
    recipe: Recipe,
    *,
    origin: Origin | None = None,
    telling: Telling = "full",
    hashes: Hashes | None = None,
) -> Commitment | None:
    """Write the picture `image` of `recipe` to `path`, as PNG, JPEG or WebP by its ending.

    Args:
        image: its pixels.
        path: of the file, written whole or not at all.
        recipe: that gave them.
        origin: where; its `pixels` are filled in.
        telling: `full` writes recipe, origin and infotext; `private` only the seal of a commitment, which is returned
            and opens it; `none` nothing.
        hashes: by what A1111 knows the files that it was made with; for the infotext.

    Raises:
        InvalidInput: no such format or telling, or no room in it for that much text.
    """
    check_telling(telling)
    commitment = Commitment.to(recipe) if telling == "private" else None
    if commitment:
        formats.save(image, path, {"impasto-seal": commitment.seal})
    else:
        formats.save(image, path, _full(image, recipe, origin, hashes) if telling == "full" else None)
    return commitment


def _full(image: Image.Image, recipe: Recipe, origin: Origin | None, hashes: Hashes | None) -> dict[str, str]:
    texts = {"impasto": recipe.canonical().decode("utf-8")}
    if origin:
        filled = origin.model_copy(update={"pixels": pixels_digest(image)})
        texts["impasto-origin"] = filled.canonical().decode("utf-8")
    return {**texts, formats.INFOTEXT_KEY: infotext.write(recipe, hashes)}


def read(path: Path) -> Said:
    """Return what the picture at `path` says; other programs' texts that make no sense count as nothing.

    Raises:
        NotFound: no such file.
        InvalidRecipe: not a picture, a damaged one, or our own recipe in it is damaged.
    """
    texts = formats.texts(path)
    recipe = Recipe.from_json(texts["impasto"], f"The recipe in {path}") if "impasto" in texts else None
    return Said(recipe, _origin(texts, path), texts.get("impasto-seal"), find(texts))


def find(texts: Texts) -> Infotext | None:
    """Return what other programs' `texts`, by keyword, say; None when that is nothing."""
    found = (reader(texts) for reader in READERS.values())
    return next((said for said in found if said is not None), None)


def _origin(texts: Texts, path: Path) -> Origin | None:
    data = invokeai.read_object(texts.get("impasto-origin", ""))
    return Origin.parse(data, f"The origin in {path}", InvalidRecipe) if data else None
