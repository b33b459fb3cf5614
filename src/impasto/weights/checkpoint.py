"""A checkpoint: a model as it lies in files, opened but not yet built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from impasto.models.specs import ModelSpec
from impasto.models.tokenizer import CLIPTokenizer
from impasto.receipt import Receipt
from impasto.schema import Frozen, digest
from impasto.weights.facts import Facts, remembered, stamp
from impasto.weights.files import TensorFile

NOTICES = ("ATTRIBUTION", "LICENSE", "NOTICE")


class Settings(Frozen):
    """How a model makes pictures when a person does not say otherwise."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 25
    guidance: Annotated[float, Field(ge=0, le=100)] = 7.5
    sampler: str = "dpmpp_2m"
    schedule: str = "karras"


class About(Frozen):
    """What a model's own file says of it."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    settings: Settings = Settings()


@dataclass(frozen=True, eq=False)
class Component:
    """The weights of one network in a file.

    Attributes:
        file: where its tensors are.
        names: (parameter of ours) -> (name in the file).
        called: what a parameter of ours that is missing would be called in the file.
    """

    file: TensorFile
    names: Mapping[str, str]
    called: Callable[[str], str] = str

    def digest(self, facts: Facts) -> str:
        """Return the `tensors_digest` under our names, read if it is not among the `facts`."""
        first, *others = self.file.paths
        told = digest([sorted(self.names.items()), [[str(path), *map(str, stamp(path))] for path in others]])
        return facts.know(first, f"tensors {told}", lambda: self.file.digest(self.names))


@dataclass(frozen=True, eq=False)
class Substitute:
    """An autoencoder in the place of a model's own.

    Attributes:
        path: of the file or folder that it came from.
        model: as it was before.
    """

    path: Path
    model: Checkpoint

    @property
    def name(self) -> str:
        """What people call it: the name of the file, or of the folder that has it."""
        return self.path.parent.name if self.path.name == "vae" else self.path.name

    @cached_property
    def file_digest(self) -> str | None:
        """SHA-256 of the file that the autoencoder came from; None where that was a folder."""
        return _file_digest(self.path) if self.path.is_file() else None


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model as it lies in files.

    Attributes:
        about: its name and settings.
        spec: what its networks are.
        tokenizer: how its text encoder reads.
        components: weights of `text_encoder`, `unet` and `vae`.
        receipt: what it was made from, where that is known.
        extras: tensors in the files that are no part of it, left out on purpose.
        notices: texts that have to go with it wherever it goes, by file name (`NOTICES`).
        file: that it came from, where that was a single one.
        substitute: the autoencoder that took the place of its own, where one did.
    """

    about: About
    spec: ModelSpec
    tokenizer: CLIPTokenizer
    components: Mapping[str, Component]
    receipt: Receipt | None = None
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)
    notices: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    substitute: Substitute | None = None

    @cached_property
    def file_digest(self) -> str | None:
        """SHA-256 of the single file that it came from, by which other programs know it; None where there is none.

        Read once for as long as the file stays as it is.
        """
        return _file_digest(self.file) if self.file else None

    @cached_property
    def component_digests(self) -> dict[str, str]:
        """`tensors_digest` of each component under our names; reads all weights, once for as long as they stay."""
        with remembered() as facts:
            return {name: component.digest(facts) for name, component in self.components.items()}

    @cached_property
    def digest(self) -> str:
        """Identity of the model, the same in whichever layout its files are."""
        return identity(self.spec, self.tokenizer, self.component_digests)


def _file_digest(path: Path) -> str:
    with remembered() as facts:
        return facts.sha256(path)


def identity(spec: ModelSpec, tokenizer: CLIPTokenizer, components: Mapping[str, str]) -> str:
    """Return the digest of a model: of its networks' shapes, its tokenizer and its `components`' tensor digests.

    Its name and the size of its pictures are left out: they change nothing in a picture of a given recipe.
    """
    shapes = spec.model_dump(mode="json", exclude={"name", "resolution", "tokenizer"})
    return digest({"spec": shapes, "tokenizer": _tokenizer_digest(tokenizer), "components": dict(components)})


def _tokenizer_digest(tokenizer: CLIPTokenizer) -> str:
    content = json.dumps([sorted(tokenizer.vocabulary.items()), tokenizer.merges, tokenizer.pad_id])
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"
