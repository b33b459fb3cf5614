"""What a file or folder of weights is, said without building anything from it."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impasto.errors import NotFound, WeightsError
from impasto.schema import file_digest
from impasto.weights import files, pictured
from impasto.weights.checkpoint import Checkpoint
from impasto.weights.consent import consent_at
from impasto.weights.containers import CONTAINERS, container, open_tensors
from impasto.weights.detect import CONTENTS, adapter_files, content, kind_at, open_model
from impasto.weights.files import DTYPE_NAMES
from impasto.weights.layouts import diffusers, ldm
from impasto.weights.store import SHORT, Entry, check, holding


@dataclass(frozen=True)
class File:
    """A file of weights.

    Attributes:
        path: of the file.
        container: what keeps the tensors, a key of `CONTAINERS`.
        bytes: its size.
        sha256: of the whole file, 64 hexadecimal digits.
        dtypes: how many numbers there are of each dtype.
        tensors: how many there are.
        metadata: the file's own strings.
    """

    path: Path
    container: str
    bytes: int
    sha256: str
    dtypes: dict[str, int]
    tensors: int
    metadata: Mapping[str, str]

    @property
    def short(self) -> str:
        """A1111's hash, which people quote and pictures carry."""
        return self.sha256[:SHORT]


@dataclass(frozen=True)
class Description:
    """What is at a path.

    Attributes:
        what: in words.
        files: every file of weights there.
        checkpoint: the model, where it is one.
        problem: why it cannot be used as one, where it is one that is not read here.
        stored: what was pulled, where it is of the store and still the same.
        consent: how many works it learned from by which right, as its receipt says; None where it has none.
    """

    what: str
    files: tuple[File, ...]
    checkpoint: Checkpoint | None = None
    problem: str | None = None
    stored: Entry | None = None
    consent: Mapping[str, int] | None = None

    def plain(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "what": self.what,
            "problem": self.problem,
            "stored": self.stored and self.stored.plain(),
            "consent": None if self.consent is None else dict(self.consent),
            "model": self.checkpoint and _model(self.checkpoint),
            "files": [
                {
                    "path": str(file.path),
                    "container": file.container,
                    "bytes": file.bytes,
                    "sha256": file.sha256,
                    "short": file.short,
                    "tensors": file.tensors,
                    "dtypes": file.dtypes,
                    "metadata": dict(file.metadata),
                }
                for file in self.files
            ],
        }


def _model(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "name": checkpoint.about.name,
        "architecture": ldm.architecture(checkpoint.spec),
        "digest": checkpoint.digest,
        "components": checkpoint.component_digests,
        "spec": checkpoint.spec.plain(),
        "receipt": checkpoint.receipt and checkpoint.receipt.plain(),
        "left_out": sorted(checkpoint.extras),
        "notices": sorted(checkpoint.notices),
    }


def describe(path: Path) -> Description:
    """Say what is at `path`; reads every byte of it, for the hashes.

    Raises:
        NotFound: there is nothing, or a folder without a model.
        UnreadableWeights: it is not a well-formed file of a kind that is read here.
        WeightsChanged: it is of the store, and not what was pulled.
    """
    check(path)
    found, stored = (_describe_folder if path.is_dir() else _describe_file)(path), holding(path)
    return dataclasses.replace(found, stored=stored.entry if stored else None, consent=consent_at(path))


def _describe_file(path: Path) -> Description:
    if pictured.is_picture(path) and pictured.read(path) is not None:
        return Description("a textual inversion in a picture; `impasto adapter inspect` says more", ())
    file = _file(path)
    tensors = open_tensors(path)
    kind = content(tensors)
    if kind != "model":
        return Description(CONTENTS[kind].what if kind else "tensors of nothing that is known here", (file,))
    try:
        return Description(CONTENTS[kind].what, (file,), open_model(path))
    except WeightsError as problem:
        return Description(CONTENTS[kind].what, (file,), problem=str(problem))


def _describe_folder(path: Path) -> Description:
    if not diffusers.is_folder(path) and (adapter := adapter_files(path)):
        return Description(str(kind_at(path)[1]), tuple(map(_file, adapter)))
    if not diffusers.is_folder(path):
        raise NotFound(f"There is no model in {path}: a folder with {diffusers.INDEX} is needed, or a single file.")
    checkpoint = open_model(path)
    paths = [source for part in checkpoint.components.values() for source in part.file.paths]
    return Description("a model in a diffusers folder", tuple(map(_file, paths)), checkpoint)


def _file(path: Path) -> File:
    kind = container(path)
    tensors = open_tensors(path)
    return File(
        path=path,
        container=CONTAINERS[kind].what,
        bytes=path.stat().st_size,
        sha256=file_digest(path).removeprefix("sha256:"),
        dtypes=_dtypes(tensors.entries),
        tensors=len(tensors),
        metadata=tensors.metadata,
    )


def _dtypes(entries: Mapping[str, files.Entry]) -> dict[str, int]:
    numbers: Counter[str] = Counter()
    for entry in entries.values():
        numbers[DTYPE_NAMES[entry.dtype]] += math.prod(entry.shape)
    return dict(numbers)
