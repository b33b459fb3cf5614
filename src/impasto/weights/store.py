"""The store: models, adapters and embeddings that a person has pulled, each with what it is and where it came from.

    HOME/model/NAME/entry.json      what was put there: origin, licence, SHA-256 of every file
    HOME/model/NAME/...             the files, as they lie in their repository
    HOME/adapter/... embedding/... vae/...

A folder of the store is there whole or not at all. Before its files are used they are compared with the entry; files
that have not changed since they last were are not read again for it (`facts`).
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints

from impasto.errors import ImpastoError, InvalidInput, NotFound, WeightsChanged, printable
from impasto.files import write_text
from impasto.schema import Digest, Frozen, read_json
from impasto.weights import folders
from impasto.weights.facts import Facts, remembered
from impasto.weights.home import home

Kind = Literal["model", "adapter", "embedding", "vae"]
KINDS: tuple[Kind, ...] = get_args(Kind)

ENTRY = "entry.json"
SHORT = 10  # hexadecimal digits of A1111's hash, the beginning of the file's SHA-256

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$")]
"""What an entry may be called: a file name on every system, and one word on a command line."""


class Origin(Frozen):
    """Where an entry came from.

    Attributes:
        repo: the repository's name on its hub.
        revision: the commit, which never changes.
        asked: the revision that was asked for, which may.
        hub: address of the hub, where it is not the usual one.
    """

    repo: str
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    asked: str | None = None
    hub: str | None = None


class Licence(Frozen):
    """What a person said yes to.

    Attributes:
        id: of the licence, as the repository gives it.
        name: where the id is `other`.
        link: to its text.
        file: of the entry that holds its text.
    """

    id: str | None = None
    name: str | None = None
    link: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        """Return the licence in a line."""
        named = self.name if self.name and self.id in (None, "other") else self.id
        return f"{named or 'none stated'}{f' ({self.link})' if self.link else ''}"


class StoredFile(Frozen):
    """A file of an entry.

    Attributes:
        path: within the entry, with `/`.
        bytes: its size.
        sha256: of the whole file.
    """

    path: str
    bytes: Annotated[int, Field(ge=0)]
    sha256: Digest

    @property
    def short(self) -> str:
        """A1111's hash."""
        return self.sha256.removeprefix("sha256:")[:SHORT]


class Entry(Frozen):
    """What is in the store under one name.

    Attributes:
        name: what people call it.
        kind: what it is.
        main: path of what is loaded, within the entry; `.` is the whole folder.
        files: every file, by path.
        identity: digest of a model, the same in whichever layout it is.
        origin: where it came from.
        licence: under which it is used.
        base: repository or short hash of the model that an adapter or embedding was made for.
    """

    name: Name
    kind: Kind
    main: str
    files: tuple[StoredFile, ...]
    identity: Digest | None = None
    origin: Origin | None = None
    licence: Licence = Licence()
    base: str | None = None

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def short(self) -> str | None:
        """A1111's hash, where the entry is one file of weights."""
        return next((file.short for file in self.files if file.path == self.main), None)


@dataclass(frozen=True)
class Stored:
    """An entry and its folder."""

    entry: Entry
    folder: Path

    @property
    def path(self) -> Path:
        """What is loaded: a file, or the folder."""
        return self.folder / self.entry.main

    def verify(self, facts: Facts, *, again: bool = False) -> None:
        """Compare the files with the entry; those that did not change since they last were are not read `again`.

        Raises:
            WeightsChanged: a file is missing, is not what was put there, or was added.
        """
        there = {file.relative_to(self.folder).as_posix(): file for file in _files(self.folder)}
        wanted = {file.path: file for file in self.entry.files}
        problems = [f"{path} is missing" for path in sorted(wanted.keys() - there.keys())]
        problems += [f"{printable(path)} was added" for path in sorted(there.keys() - wanted.keys())]
        for path in sorted(wanted.keys() & there.keys()):
            found = facts.sha256(there[path], again=again)
            if found != wanted[path].sha256:
                problems.append(f"{path} is not what was put there: {found} instead of {wanted[path].sha256}")
        if problems:
            raise WeightsChanged(self._changed(problems))

    def _changed(self, problems: list[str]) -> str:
        origin = self.entry.origin
        again = f"Run `impasto pull {origin.repo} --revision {origin.revision}`" if origin else "Get it once more"
        listing = "".join(f"\n  {problem}" for problem in problems)
        return (
            f"{self.entry.name} in {self.folder} was changed or damaged; nothing was loaded.{listing}\n"
            f"{again} for files as they were, or `impasto remove {self.entry.name}` to be rid of it."
        )


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files that a reader of `folder` could come upon; the hidden ones are systems' own."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path == folder / ENTRY:
            continue
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith("."))
        else:
            yield path


class Store:
    """The models, adapters and embeddings in a folder."""

    def __init__(self, root: Path | None = None) -> None:
        """Use the folder `root`, by itself `home()`; it need not be there."""
        self.root = root or home()

    def __iter__(self) -> Iterator[Stored]:
        """Yield what there is, by kind and name."""
        for kind in KINDS:
            for path in sorted((self.root / kind).glob(f"*/{ENTRY}")):
                if not path.parent.name.startswith("."):
                    yield _read(path)

    def place(self, kind: Kind, name: str) -> Path:
        """Return the folder of an entry, whether it is there or not."""
        return self.root / kind / name

    def called(self, name: str, kinds: Iterable[Kind] = KINDS) -> list[Stored]:
        """Return what goes by `name`: its own, or else its repository's, or a hash of its file or model."""
        found = [stored for stored in self if stored.entry.kind in kinds and name in names_of(stored.entry)]
        return [stored for stored in found if stored.entry.name == name] or found

    def one(self, name: str) -> Stored:
        """Return what goes by `name`; among several kinds, `kind/name` says which.

        Raises:
            NotFound: nothing; lists what there is.
            InvalidInput: more than one thing does.
        """
        kind, _, plain = name.partition("/")
        found = (self.called(plain, [kind]) if kind in KINDS else []) or self.called(name)
        if not found:
            raise nothing("entry in the store", name, [stored.entry.name for stored in self])
        if len(found) > 1:
            several = ", ".join(f"{stored.entry.kind}/{stored.entry.name}" for stored in found)
            raise InvalidInput(f"{name!r} is more than one thing in the store. Say which: {several}.")
        return found[0]

    @property
    def pulling(self) -> Path:
        """The folder of what is not there whole yet."""
        return self.root / "pulling"

    def put(self, folder: Path, entry: Entry) -> Stored:
        """Move `folder`, which must be in the store's own root, to where `entry` belongs; replaces what is there."""
        write_text(folder / ENTRY, entry.canonical().decode("utf-8") + "\n")
        place = self.place(entry.kind, entry.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        old = place.with_name(f".{place.name}.{secrets.token_hex(4)}.old")
        if place.exists():
            place.replace(old)
        folder.replace(place)
        shutil.rmtree(old, ignore_errors=True)
        return Stored(entry, place)

    def remove(self, stored: Stored) -> None:
        """Remove an entry and its files."""
        gone = stored.folder.with_name(f".{stored.folder.name}.{secrets.token_hex(4)}.old")
        stored.folder.replace(gone)  # whole or not at all, however long the rest takes
        shutil.rmtree(gone)

    def orphans(self, stored: Stored) -> list[Stored]:
        """Return what was made for the model `stored`, and for no other that is here."""
        if stored.entry.kind != "model":
            return []
        others = [found for found in self if found.entry.kind == "model" and found.folder != stored.folder]
        left = {name for found in others for name in names_of(found.entry)}
        own = names_of(stored.entry) - left
        return [found for found in self if found.entry.base in own]


def names_of(entry: Entry) -> set[str]:
    """Return everything that `entry` goes by."""
    names = {entry.name, entry.identity, entry.origin and entry.origin.repo}
    for file in entry.files:
        if file.path == entry.main:
            hexadecimal = file.sha256.removeprefix("sha256:")
            names |= {file.sha256, hexadecimal, file.short, f"{entry.name} [{file.short}]", Path(file.path).name}
    return {name for name in names if name}


def _read(path: Path) -> Stored:
    return Stored(Entry.parse(read_json(path), str(path)), path.parent)


def holding(path: Path) -> Stored | None:
    """Return the entry that the file or folder at `path` is of, in whichever store."""
    path = path.absolute()
    for folder in (path, *path.parents[:4]):
        if folder.parent.name in KINDS and (folder / ENTRY).is_file():
            return _read(folder / ENTRY)
    return None


def check(path: Path) -> None:
    """Compare the file or folder at `path`, if it is of a store, with what was put there; see `Stored.verify`.

    Raises:
        WeightsChanged: it is not.
    """
    if stored := holding(path):
        with remembered() as facts:
            stored.verify(facts)


def find(name: str, kind: Kind | None = "model", packaged: Mapping[str, Path] | None = None) -> Path:
    """Return where the model (adapter, embedding, autoencoder) called `name` is.

    Looked for are, in this order: what comes with Impasto, the store, the folders of other tools that were named to it
    (`folders`), and a path. A name may be that of an entry, a file or a repository, or a hash.

    Args:
        name: to find.
        kind: of what it is; None for whatever it is.
        packaged: what comes with Impasto.

    Raises:
        NotFound: nothing has that name; lists what there is.
        InvalidInput: several files have it.
    """
    packaged, path, what = packaged or {}, Path(name).expanduser(), kind or "model, adapter, embedding or autoencoder"
    if name in packaged:
        return packaged[name]
    if path.is_absolute() or name.startswith("."):
        if path.exists():
            return path
        raise NotFound(f"There is no {what} at {name!r}: no such file or folder.")
    store, kinds = Store(), (kind,) if kind else KINDS
    if found := store.called(name, kinds):
        return _only([stored.path for stored in found], name, what)
    others = _in_folders(kinds)
    if paths := [item.path for item in others if name in item.names]:
        return _only(paths, name, what)
    if path.exists():
        return path
    there = {*packaged, *(stored.entry.name for stored in store if stored.entry.kind in kinds)}
    raise nothing(what, name, [*there, *(item.name for item in others)])


def _only(paths: list[Path], name: str, what: str) -> Path:
    if len(paths) > 1:
        raise InvalidInput(f"{name!r} is more than one {what}. Give one's path: {', '.join(map(str, paths))}.")
    return paths[0]


def everything(kind: Kind) -> dict[str, Path]:
    """Return all of a `kind` that is in the store and in the registered folders of other tools, by name."""
    others = {item.name: item.path for item in _in_folders([kind])}
    return {**others, **{found.entry.name: found.path for found in Store() if found.entry.kind == kind}}


def _in_folders(kinds: Sequence[str]) -> list[folders.Item]:
    registered = folders.Registered()
    with remembered() as facts:
        return [item for folder in registered for item in folders.items(folder, facts) if item.kind in kinds]


def nothing(what: str, name: str, there: list[str]) -> ImpastoError:
    """Return the error for a `name` that nothing has."""
    choices = f"Choose one of: {', '.join(sorted(set(there)))}." if there else "There is none yet."
    return NotFound(f"Unknown {what} {name!r}. {choices} Or give the path of one; {name!r} is not there.")
