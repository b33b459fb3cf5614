"""A checkpoint: a model as it lies in files, opened but not yet built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
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
    """

    about: About
    spec: ModelSpec
    tokenizer: CLIPTokenizer
    components: Mapping[str, Component]
    receipt: Receipt | None = None
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)
    notices: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def component_digests(self) -> dict[str, str]:
        """`tensors_digest` of each component under our names; reads all weights, once for as long as they stay."""
        with remembered() as facts:
            return {name: component.digest(facts) for name, component in self.components.items()}

    @cached_property
    def digest(self) -> str:
        """Identity of the model, the same in whichever layout its files are."""
        return identity(self.spec, self.tokenizer, self.component_digests)


def identity(spec: ModelSpec, tokenizer: CLIPTokenizer, components: Mapping[str, str]) -> str:
    """Return the digest of a model: of its networks' shapes, its tokenizer and its `components`' tensor digests.

    Its name and the size of its pictures are left out: they change nothing in a picture of a given recipe.
    """
    shapes = spec.model_dump(mode="json", exclude={"name", "resolution", "tokenizer"})
    return digest({"spec": shapes, "tokenizer": _tokenizer_digest(tokenizer), "components": dict(components)})


def _tokenizer_digest(tokenizer: CLIPTokenizer) -> str:
    content = json.dumps([sorted(tokenizer.vocabulary.items()), tokenizer.merges, tokenizer.pad_id])
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"
