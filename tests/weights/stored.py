"""A store with a model in it, for tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from impasto.schema import file_digest
from impasto.weights.store import Entry, Kind, Origin, Store, Stored, StoredFile

REVISION = "0123456789abcdef0123456789abcdef01234567"


def put(store: Store, source: Path, name: str, kind: Kind = "model", base: str | None = None) -> Stored:
    """Put a copy of the file or folder at `source` into the store, as pulling does."""
    folder = store.pulling / name
    if source.is_dir():
        shutil.copytree(source, folder)
    else:
        folder.mkdir(parents=True)
        shutil.copy(source, folder)
    files = tuple(
        StoredFile(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=file_digest(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    entry = Entry(
        name=name,
        kind=kind,
        main="." if source.is_dir() else source.name,
        files=files,
        origin=Origin(repo=f"someone/{name}", revision=REVISION),
        base=base,
    )
    return store.put(folder, entry)
