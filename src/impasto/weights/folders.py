"""Folders of other tools: what is in them is used where it lies.

A tool's folder is known by what is in it; the table says where it keeps what. Any other folder is looked through whole.
What a file is is decided from its content, never from its name or place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impasto import __version__
from impasto.errors import ImpastoError, InvalidInput, NotFound
from impasto.files import write_text
from impasto.schema import read_json
from impasto.weights.facts import Facts
from impasto.weights.home import home


@dataclass(frozen=True)
class Tool:
    """Where a tool keeps its files.

    Attributes:
        name: what people call it.
        marks: of which one is in its folder, and in no other tool's.
        places: where it keeps files of weights.
        paths: file with further places, where it has one.
    """

    name: str
    marks: tuple[str, ...]
    places: tuple[str, ...]
    paths: str | None = None


TOOLS = (
    Tool(
        "A1111",
        ("models/Stable-diffusion",),
        ("models/Stable-diffusion", "models/VAE", "models/Lora", "models/LyCORIS", "embeddings"),
    ),
    Tool("InvokeAI", ("invokeai.yaml", "databases/invokeai.db"), ("models", "autoimport"), "invokeai.yaml"),
    Tool(
        "ComfyUI",
        ("models/checkpoints", "extra_model_paths.yaml"),
        ("models/checkpoints", "models/diffusers", "models/loras", "models/vae", "models/embeddings"),
        "extra_model_paths.yaml",
    ),
)
"""The tools whose folders are known; Forge and SD.Next keep theirs as A1111 does."""

KEPT = ("checkpoints", "diffusers", "loras", "vae", "embeddings")
"""What may be named in ComfyUI's extra_model_paths.yaml and is read here."""

INDEX = "model_index.json"
ADAPTER_MARKS = ("adapter_config.json", "unet/adapter_config.json", "text_encoder/adapter_config.json")
"""Files of which one is in the folder of an adapter by PEFT."""


@dataclass(frozen=True)
class Item:
    """A model, adapter, embedding or autoencoder of another tool.

    Attributes:
        path: where it lies.
        name: what it is called: its path within the tool's folder of its kind, without the ending.
        kind: what it is, of the store's kinds; None for what cannot be used.
        what: it is, in words; why it cannot be used, where it cannot.
        names: everything it goes by.
    """

    path: Path
    name: str
    kind: str | None
    what: str
    names: frozenset[str]


def tool(folder: Path) -> Tool | None:
    """Return whose folder this is, None for nobody's that is known."""
    return next((tool for tool in TOOLS if any((folder / mark).exists() for mark in tool.marks)), None)


def places(folder: Path) -> list[Path]:
    """Return where to look for files of weights in `folder`.

    Raises:
        NotFound: there is no such folder.
        InvalidInput: a tool's file of further places is not what it should be.
    """
    if not folder.is_dir():
        raise NotFound(f"There is no folder {str(folder)!r}.")
    known = tool(folder)
    if known is None:
        return [folder]
    there = [folder / place for place in known.places]
    if known.paths and (folder / known.paths).is_file():
        there += _further(folder / known.paths)
    return list(dict.fromkeys(place.resolve() for place in there if place.is_dir()))


def _further(path: Path) -> list[Path]:
    """Return the places that the file at `path` names: InvokeAI's configuration, or ComfyUI's extra paths."""
    import yaml  # type: ignore[import-untyped]  # it ships no types

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        return []
    if isinstance(models := content.get("models_dir"), str):
        return [path.parent / Path(models).expanduser()]
    return [place for section in content.values() if isinstance(section, dict) for place in _section(path, section)]


def _section(path: Path, section: dict[str, Any]) -> Iterator[Path]:
    base = path.parent / Path(os.path.expandvars(str(section.get("base_path") or ""))).expanduser()
    for kind in KEPT:
        for line in str(section.get(kind) or "").splitlines():
            if line.strip():
                yield base / Path(line.strip()).expanduser()


def items(folder: Path, facts: Facts) -> Iterator[Item]:
    """Yield what is in `folder`, a tool's or any other, in order of place and name.

    Raises:
        NotFound: there is no such folder.
    """
    seen: set[Path] = set()
    for place in places(folder):
        for path in _weights(place, seen):
            yield from _item(path, place, facts)


def _weights(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield folders of models and adapters, and all files below `folder`; follows links, sees each place once."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    if any((folder / mark).is_file() for mark in (INDEX, *ADAPTER_MARKS)):
        yield folder
        return
    try:
        content = sorted(folder.iterdir())
    except OSError:
        return  # not ours to read
    for path in content:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _weights(path, seen)
        elif path.is_file():
            yield path


def _item(path: Path, place: Path, facts: Facts) -> Iterator[Item]:
    try:
        kind, what = json.loads(facts.know(_witness(path), f"is {__version__}", lambda: json.dumps(_is(path))))
    except OSError as error:
        kind, what = None, error.strerror or str(error)
    if kind is None and what is None:
        return  # a picture, a note: nothing to do with weights
    whole = path.relative_to(place).as_posix() if path != place else path.name
    name = whole if path.is_dir() else whole.removesuffix(path.suffix)
    names = {name, whole, path.name, path.name if path.is_dir() else path.stem}
    yield Item(path, name, kind, what, frozenset(names))


def _witness(path: Path) -> Path:
    """Return the file that changes when what is at `path` becomes something else."""
    marks = (path / mark for mark in (INDEX, *ADAPTER_MARKS)) if path.is_dir() else ()
    return next((mark for mark in marks if mark.is_file()), path)


def _is(path: Path) -> tuple[str | None, str | None]:
    from impasto.weights.detect import kind_at  # torch comes in here, for what is not remembered

    try:
        return kind_at(path)
    except ImpastoError as error:
        return None, str(error)


class Registered:
    """The folders that a person named, in a file of the store."""

    def __init__(self, path: Path | None = None) -> None:
        """Use the file at `path`, by itself one in `home()`; it need not be there."""
        self._path = path or home() / "folders.json"

    def __iter__(self) -> Iterator[Path]:
        """Yield those that are there now; a disk that is not mounted is no error."""
        yield from (path for path in self.all() if path.is_dir())

    def all(self) -> list[Path]:
        """Return those that were named, whether they are there or not."""
        if not self._path.is_file():
            return []
        named = read_json(self._path).get("folders")
        if not isinstance(named, list) or not all(isinstance(path, str) for path in named):
            raise InvalidInput(f"{self._path} should hold a list of folders. Remove it, and add them again.")
        return [Path(path) for path in named]

    def add(self, folder: Path) -> None:
        """Remember `folder`.

        Raises:
            NotFound: there is no such folder.
        """
        if not folder.is_dir():
            raise NotFound(f"There is no folder {str(folder)!r}.")
        self._write([*self.all(), folder.resolve()])

    def remove(self, folder: Path) -> None:
        """Forget `folder`; nothing in it is touched.

        Raises:
            NotFound: it was not named; lists those that were.
        """
        named = self.all()
        if folder.resolve() not in named:
            raise NotFound.among("registered folder", str(folder), map(str, named))
        self._write([path for path in named if path != folder.resolve()])

    def _write(self, paths: list[Path]) -> None:
        write_text(self._path, json.dumps({"folders": list(dict.fromkeys(map(str, paths)))}, indent=1) + "\n")
