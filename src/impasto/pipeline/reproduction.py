"""A picture made again from what its file says, and what may keep it from being the same."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from impasto.errors import InvalidRecipe
from impasto.pictures import formats, infotext
from impasto.pictures.compare import Difference, difference
from impasto.pictures.infotext import Infotext
from impasto.pictures.metadata import Said
from impasto.pictures.origin import Commitment, Origin, pixels_digest
from impasto.pipeline import hashes
from impasto.pipeline.model import Model
from impasto.pipeline.picture import Picture
from impasto.recipe import Recipe
from impasto.weights.load import LoadedModel

LOSSY = (".jpg", ".jpeg")


@contextmanager
def as_many_threads(threads: int) -> Iterator[None]:
    """Let torch use as many threads as a picture was made with, where this machine has them, and set it back after."""
    before = torch.get_num_threads()
    try:
        if threads <= (os.cpu_count() or 1):
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)


def again(said: Said, model: Model, sources: Sequence[Image.Image] = ()) -> Picture:
    """Make the picture that says `said` again with `model`, and with as many threads as it was made with.

    Raises:
        InvalidRecipe: see `rebuilt`.
    """
    recipe = rebuilt(said, model, sources)
    with as_many_threads(said.origin.threads if said.origin else torch.get_num_threads()):
        *_, last = model.steps(recipe, any_model=True, sources=sources)
        return model.pictures(last)[0]


@dataclass(frozen=True)
class Verdict:
    """How a picture that was made again compares with its file.

    Attributes:
        apart: how far; None when the sizes differ.
        reasons: known to keep them apart, in words; where the pictures are identical there are none.
    """

    apart: Difference | None
    reasons: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether every pixel is the same."""
        return self.apart is not None and self.apart.none


def opened(said: Said, commitment: Commitment) -> Recipe:
    """Return the recipe that `commitment` keeps for the picture that says `said`.

    Raises:
        InvalidRecipe: the picture's seal is not that of `commitment`.
    """
    if said.seal != commitment.seal:
        raise InvalidRecipe(f"The picture carries the seal {said.seal}, not {commitment.seal}: this is another recipe.")
    return commitment.recipe


def rebuilt(said: Said, model: Model, sources: Sequence[Image.Image] = ()) -> Recipe:
    """Return the recipe that the picture names or, from another program's text, the likeliest one for `model`.

    Args:
        said: by the file.
        model: to make it with.
        sources: the picture that it was made from and the mask, where there was one.

    Raises:
        InvalidRecipe: the file says nothing, keeps its recipe to itself, or means what no recipe can; or it was made
            from a picture that is not among the `sources`.
        NotFound: the text names an adapter or embedding that is not there; lists those there are.
    """
    if said.recipe:
        return said.recipe
    if said.seal:
        raise InvalidRecipe("The picture keeps its recipe to itself. Give the file that its maker kept: --recipe.")
    if not said.infotext:
        raise InvalidRecipe("The picture says nothing of how it was made.")
    return model.recipe(said.infotext.prompt, **chosen(said.infotext, sources))


def chosen(found: Infotext, sources: Sequence[Image.Image] = ()) -> dict[str, Any]:
    """Return the choices of a recipe that another program's text `found` makes; see `rebuilt`."""
    choices, strength = infotext.choices(found), infotext.from_picture(found)
    if strength is None:
        return choices
    if not sources:
        raise InvalidRecipe("It was made from another picture, which its text does not hold. Give that one: --image.")
    counting = "exact" if found.program == "ComfyUI" else "a1111"
    choices["start"] = {"image": pixels_digest(sources[0]), "strength": strength, "counting": counting}
    if len(sources) > 1:
        choices["mask"] = {"image": pixels_digest(sources[1]), **infotext.mask(found)}
    return choices


def judge(path: Path, said: Said, picture: Picture, model: Model | None = None) -> Verdict:
    """Compare the file at `path`, which says `said`, with `picture`, made again by `model`."""
    file = formats.open_image(path)
    apart = difference(file, _as_saved(picture.image, path))
    if apart is not None and apart.none:
        return Verdict(apart, ())
    text = said.infotext if not said.recipe else None
    others = (other_model(text, model), other_vae(text, model)) if text and model else ()
    return Verdict(apart, (*filter(None, others), *_reasons(path, file, said, picture)))


def _as_saved(image: Image.Image, path: Path) -> Image.Image:
    """Return `image` as it is once saved in the format of `path`, which may lose something."""
    if path.suffix.lower() not in LOSSY:
        return image
    with TemporaryDirectory() as folder:
        again = Path(folder) / f"again{path.suffix.lower()}"
        formats.save(image, again)
        return formats.open_image(again)


def _reasons(path: Path, file: Image.Image, said: Said, picture: Picture) -> Iterator[str]:
    if file.size != picture.image.size:
        yield f"the file is {file.width}x{file.height}, the recipe gives {picture.image.width}x{picture.image.height}"
    if said.recipe and said.recipe.model_digest != picture.recipe.model_digest:
        yield (
            f"another model: made with {said.recipe.model_name} ({said.recipe.model_digest}), "
            f"made again with {picture.recipe.model_name} ({picture.recipe.model_digest})"
        )
    if said.recipe and said.recipe.dtype != picture.recipe.dtype:
        yield f"another number format: {said.recipe.dtype} then, {picture.recipe.dtype} now"
    if said.infotext and not said.recipe:
        yield f"made by {said.infotext.program}, whose text leaves things open and whose noise may differ"
        yield from other_files(said.infotext, picture)
        if untold := infotext.beyond(said.infotext):
            yield f"its text asks for what is not done here: {', '.join(untold)}"
    if path.suffix.lower() in LOSSY:
        yield f"{path.suffix} does not keep every pixel, and other encoders keep others"
    if said.origin:
        yield from _changes(said.origin, picture.origin)
        if said.origin.pixels and path.suffix.lower() not in LOSSY and said.origin.pixels != pixels_digest(file):
            yield "the file's pixels were changed after it was made"


def other_model(found: Infotext, model: Model) -> str | None:
    """Return in words that `found` names another model than `model`; None where it does not, or names none.

    A hash of ten digits is of a whole file; one of eight of a part of it. Our own texts have that of the weights where
    a model is no single file, and so have all of them that were written before there was another.
    """
    told = found.parameters.get("Model hash", "").lower()
    if found.program not in TOLD_BY_HASH or not re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{10}", told):
        return None
    own = [infotext.short(model.digest), *_file_hash(model, len(told))]
    if told in own:
        return None
    named = found.parameters.get("Model", "a model")
    return f"another model: {named} [{told}] then, {model.name} [{own[-1]}] now"


TOLD_BY_HASH = (*infotext.A1111_LIKE, "Impasto")


def _file_hash(model: Model, digits: int) -> Iterator[str]:
    """Yield by what hash A1111 knows the file that `model` came from, if it is one; the whole one is remembered."""
    if not isinstance(model.networks, LoadedModel) or (path := model.networks.checkpoint.file) is None:
        return
    yield hashes.legacy(path) if digits == 8 else str(model.hashes.model)


def other_vae(found: Infotext, model: Model) -> str | None:
    """Return in words that `found` names another autoencoder than `model` has; None where it does not, or names none.

    Its hash is believed where there is one, its name where not; A1111 leaves both out for a model's own.
    """
    told, name = found.parameters.get("VAE hash", "").lower(), found.parameters.get("VAE")
    if found.program not in TOLD_BY_HASH or (not name and model.hashes.vae_name is None):
        return None
    same = told == model.hashes.vae if told and model.hashes.vae else name == model.hashes.vae_name
    if same:
        return None
    own = "the model's own"
    return f"another autoencoder: {name or own} then, {model.hashes.vae_name or own} now"


def other_files(found: Infotext, picture: Picture) -> Iterator[str]:
    """Yield the adapters and embeddings of `picture` that are other files than those that `found` names."""
    told = infotext.hashes(found)
    for name, digits in picture.hashes.parts.items():
        theirs = told.get(name.replace(":", "").replace(",", ""), digits)
        if theirs != digits:
            yield f"{name} is another file: {theirs} then, {digits} now"


def _changes(then: Origin, now: Origin) -> Iterator[str]:
    words = {
        "impasto": "another version of Impasto",
        "torch": "another version of torch",
        "device": "another kind of device",
        "processor": "another processor",
        "threads": "another number of threads",
        "batch": "another number of pictures made together",
    }
    for name, what in words.items():
        if getattr(then, name) != getattr(now, name):
            yield f"{what}: {getattr(then, name)} then, {getattr(now, name)} now"
