"""`impasto reproduce`: a picture made again from what its file says."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from impasto.cli.choices import Parts
from impasto.cli.generate import load
from impasto.errors import InvalidInput, InvalidRecipe, NotFound

if TYPE_CHECKING:
    from impasto.pictures.infotext import Infotext
    from impasto.pictures.metadata import Said
    from impasto.pipeline.reproduction import Verdict


def reproduce(
    picture: Path,
    *,
    model: str | None = None,
    recipe: Path | None = None,
    image: list[Path] | None = None,
    parts: Parts | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    device: str = "cpu",
) -> int:
    """Make a picture again from what its file says, and say whether every pixel is the same.

    The exit code is 0 when it is, and 1 when not; then it is said how far the two are apart, and what is known to be
    different: the model, the version, the processor, the number of threads.

    Args:
        picture: the file: PNG, JPEG or WebP, made by Impasto or, as far as their texts go, by A1111, ComfyUI, InvokeAI,
            stable-diffusion.cpp and others.
        model: name of a model, or its folder; left out, the one that the picture names, of other programs' pictures by
            the hash of its file.
        recipe: the file that was kept beside a picture made with "--metadata private".
        image: a picture or mask that it was made from; repeat the option for several.
        parts: what the model is loaded with.
        output: where to save the picture as it came out now.
        device: cpu, cuda, mps, or auto for the best there is.
    """
    from impasto.pictures import metadata
    from impasto.pictures.formats import open_image

    said = metadata.read(picture)
    if recipe:
        said = _opened(said, recipe)
    name = model or _named(said, picture)

    from impasto.pipeline.reproduction import (
        again,
        judge,
    )  # torch comes in here, after the file was found to be in order

    console = Console(stderr=True)
    with console.status(f"Reproducing {picture} ..."):
        loaded = load(name, device, said.recipe.dtype if said.recipe else None, parts=parts)
        made = again(said, loaded, [open_image(path) for path in image or ()])
        verdict = judge(picture, said, made, loaded)
    if output:
        made.save(output)
    return _told(verdict, picture)


def _opened(said: Said, kept: Path) -> Said:
    from dataclasses import replace

    from impasto.pictures.origin import Commitment
    from impasto.pipeline.reproduction import opened
    from impasto.schema import read_json

    commitment = Commitment.parse(read_json(kept), str(kept), InvalidRecipe)
    return replace(said, recipe=opened(said, commitment))


def _named(said: Said, picture: Path) -> str:
    if said.recipe:
        return said.recipe.model_name
    if said.seal:
        raise InvalidRecipe(f"{picture} keeps its recipe to itself. Give the file that its maker kept: --recipe.")
    if said.infotext:
        if found := _here(said.infotext):
            return found
        name = said.infotext.parameters.get("Model", "one that is not named")
        raise InvalidRecipe(
            f"{picture} was made by {said.infotext.program} with the model {name}. Give it with --model."
        )
    raise InvalidRecipe(f"{picture} says nothing of how it was made.")


def _here(found: Infotext) -> str | None:
    """Return where the model is whose file has the hash of a text, or of our own texts the name; None if not here."""
    from impasto.weights.home import NAMES, PACKAGED
    from impasto.weights.store import find

    told = found.parameters
    names = [told.get("Model hash", "").lower(), told.get("Model", "") if found.program == "Impasto" else ""]
    for name, form in zip(names, (r"[0-9a-f]{10}", r"\w[\w.+-]*"), strict=True):
        if re.fullmatch(form, name):  # anybody may have written it: never a path
            with suppress(NotFound, InvalidInput):
                return str(find(name, "model", {packaged: PACKAGED / packaged for packaged in NAMES}))
    return None


def _told(verdict: Verdict, picture: Path) -> int:
    if verdict.identical:
        print(f"{picture}: identical, every pixel.")
        return 0
    print(f"{picture}: not identical: {verdict.apart or 'the sizes differ'}.")
    for reason in verdict.reasons or ("no known reason: recipe, model, version and processor are the same",):
        print(f"  {reason}")
    return 1
