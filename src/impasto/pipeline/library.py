"""The adapters and embeddings that prompts may call, by name; each file is read when it is first used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from impasto.adapters.attach import Use
from impasto.adapters.embeddings import FOLDER_FILES, Embedding, called, read_embedding
from impasto.adapters.lora import DIFFUSERS_FILES, PEFT_FILES, Adapter, read_adapter
from impasto.adapters.lowrank import LowRank
from impasto.adapters.metadata import embedding_hash, lora_hash
from impasto.errors import InvalidInput, InvalidRecipe, NotFound, WeightsError
from impasto.models.unet import UNetConfig
from impasto.prompts.mentions import unknown
from impasto.recipe import AdapterUse, EmbeddingUse, Recipe
from impasto.rights.receipts import check_part
from impasto.weights import pictured
from impasto.weights.containers import open_tensors

ENDINGS = (".safetensors", ".pt", ".bin", ".ckpt")
PICTURES = (".png", ".webp")
"""Endings of pictures that A1111's users share embeddings in."""

ADAPTER_FOLDERS = (*PEFT_FILES, *DIFFUSERS_FILES, *(f"unet/{name}" for name in PEFT_FILES))
TITLE = "ss_output_name"
"""Where kohya's trainer puts what an adapter is called; by this name the web UI's prompts call it."""

T = TypeVar("T", Adapter, Embedding)
Places = Mapping[str, tuple[Path, ...]]


@dataclass(frozen=True, eq=False)
class Library:
    """Adapters and embeddings by name.

    Attributes:
        adapters: where the adapters of each name are.
        embeddings: where the embeddings of each name are.
        unet: shape of the UNet that the adapters are for.
        verify: whether to refuse what is not what its receipt says.
    """

    adapters: Places = field(default_factory=dict)
    embeddings: Places = field(default_factory=dict)
    unet: UNetConfig | None = None
    verify: bool = True
    _read: dict[Path, Adapter | Embedding] = field(default_factory=dict)
    _named: dict[str, Adapter] = field(default_factory=dict)
    _hashes: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        adapters: Iterable[str | os.PathLike[str]] = (),
        embeddings: Iterable[str | os.PathLike[str]] = (),
    ) -> Library:
        """Return the library of files, and of folders with everything below them; no file is read yet.

        Raises:
            NotFound: a path leads nowhere.
        """
        return cls(_places(adapters, ADAPTER_FOLDERS), _places(embeddings, FOLDER_FILES, PICTURES))

    def adapter(self, name: str) -> Adapter:
        """Return the adapter called `name`: the stem of its file or, where no file is called so, what its header says.

        Raises:
            NotFound: there is none; lists those there are.
            InvalidInput: there are several.
            WeightsError: its file cannot be used.
        """
        if name not in self._named:  # one object a name: it remembers its digest
            read = partial(read_adapter, unet=self.unet)
            self._named[name] = replace(self._found("adapter", name, self._places_of(name), read), name=name)
        return self._named[name]

    def embedding(self, name: str) -> Embedding:
        """Return the embedding called `name`.

        Raises:
            NotFound, InvalidInput, WeightsError: as `adapter`.
        """
        return self._found("embedding", name, self.embeddings, read_embedding)

    def known(self, names: Iterable[str]) -> set[str]:
        """Return the names of all adapters, and those of the `names` that a file's header says."""
        return {*self.adapters, *(name for name in names if name not in self.adapters and self._titled(name))}

    def hashes(self, recipe: Recipe) -> dict[str, str]:
        """Return the 12 digits by which A1111 knows the files of what `recipe` uses, by name; folders have none."""
        second = (recipe.hires and recipe.hires.adapters) or ()
        named = [(use.name, self._places_of(use.name), lora_hash) for use in (*recipe.adapters, *second)]
        named += [(use.name, self.embeddings, embedding_hash) for use in recipe.embeddings]
        found = ((name, places[name][0], digits) for name, places, digits in named if name in places)
        return {name: self._hash(path, digits) for name, path, digits in found if path.is_file()}

    def _hash(self, path: Path, digits: Callable[[Path], str]) -> str:
        if path not in self._hashes:
            self._hashes[path] = digits(path)
        return self._hashes[path]

    def _places_of(self, name: str) -> Places:
        return self.adapters if name in self.adapters else self._titled(name)

    def _found(self, what: str, name: str, places: Places, read: Callable[[Path], T]) -> T:
        if name not in places:
            raise unknown(what, [name], self.adapters if what == "adapter" else self.embeddings)
        path, *others = places[name]
        if others:
            raise InvalidInput(f"Several {what}s are called {name!r}: {', '.join(map(str, places[name]))}. Rename one.")
        if path not in self._read:
            self._read[path] = part = read(path)
            if self.verify:
                check_part(part)
        found: T = self._read[path]  # type: ignore[assignment]  # a path is read as one kind only
        return found

    def _titled(self, title: str) -> Places:
        found = tuple(path for paths in self.adapters.values() for path in paths if _title(path) == title)
        return {title: found} if found else {}

    def used(self, what: AdapterUse) -> Use:
        """Return the adapter and weights that a recipe names.

        Raises:
            NotFound: there is none of that name; lists those there are.
            InvalidRecipe: it is another one than the recipe means.
        """
        adapter = self.adapter(what.name)
        _same("adapter", what, adapter)
        text_encoder = what.weight if what.text_encoder is None else what.text_encoder
        return Use(cut(adapter, what.ranks) if what.ranks else adapter, what.weight, text_encoder)

    def meant(self, what: EmbeddingUse) -> Embedding:
        """Return the embedding that a recipe names.

        Raises:
            NotFound, InvalidRecipe: as `used`.
        """
        embedding = self.embedding(what.name)
        _same("embedding", what, embedding)
        return embedding


def cut(adapter: Adapter, ranks: int) -> Adapter:
    """Return `adapter` with the first `ranks` of its ranks alone, each as strong as before."""

    def layer(change: LowRank) -> LowRank:
        plain, kept = change.plain(), min(ranks, change.rank)
        return LowRank(plain.down[:kept], plain.up[:, :kept], plain.alpha * kept / plain.rank, None, plain.dora)

    parts = {part: {path: layer(change) for path, change in layers.items()} for part, layers in adapter.parts.items()}
    return replace(adapter, parts=parts)


def _same(what: str, use: AdapterUse | EmbeddingUse, found: Adapter | Embedding) -> None:
    if found.digest != use.identity:
        raise InvalidRecipe(
            f"The {what} {use.name!r} of the recipe is {use.identity}; the one of that name here is {found.digest}, "
            f"and would give another picture."
        )


def _places(given: Iterable[str | os.PathLike[str]], marks: tuple[str, ...], pictures: tuple[str, ...] = ()) -> Places:
    places: dict[str, tuple[Path, ...]] = {}
    for path in dict.fromkeys(file for one in given for file in _files(Path(one), marks, pictures)):
        name = _name(path)
        places[name] = (*places.get(name, ()), path)
    return dict(sorted(places.items()))


def _name(path: Path) -> str:
    return path.resolve().name if path.is_dir() else word(path.stem, path)


def word(name: str, path: Path) -> str:
    """Return what prompts call what is at `path`, which its file or store calls `name`: pictures say it themselves."""
    try:
        return called(path) if path.suffix.lower() in PICTURES else name
    except WeightsError:  # which is an error when it is asked for
        return name


def _files(path: Path, marks: tuple[str, ...], pictures: tuple[str, ...]) -> Iterator[Path]:
    """Yield `path`, or what is below it; a folder with a file that is among the `marks` counts as one file.

    Of the files that end like `pictures`, those that hold an embedding; others, such as previews, are passed over.
    """
    if not path.exists():
        raise NotFound(f"There is no file or folder {path}.")
    if path.is_file() or any((path / mark).is_file() for mark in marks):
        yield path
        return
    for below in sorted(path.iterdir()):
        if below.is_dir() or below.suffix.lower() in ENDINGS or (below.suffix.lower() in pictures and _holds(below)):
            yield from _files(below, marks, pictures)


def _holds(path: Path) -> bool:
    try:
        return pictured.is_picture(path) and pictured.read(path) is not None
    except (NotFound, WeightsError):  # a picture that is damaged is somebody else's; named by itself, it is an error
        return False


def _title(path: Path) -> str | None:
    if path.suffix.lower() != ".safetensors":
        return None
    try:
        return open_tensors(path).metadata.get(TITLE)
    except WeightsError:  # a file that cannot be read has no name; it is an error when it is asked for
        return None
