"""What a server offers to make pictures with: models, known from their files without being loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from impasto.corpus.store import MANIFEST
from impasto.errors import InvalidInput, NotFound
from impasto.models.clip import CLIPTextEncoder
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL
from impasto.pictures import infotext
from impasto.pipeline.library import Library
from impasto.pipeline.loading import DTYPES, find_device, library
from impasto.pipeline.model import Model
from impasto.rights import receipts
from impasto.schema import Digest, Frozen
from impasto.server.origin import origin
from impasto.training.plans import ModelPlan
from impasto.weights.checkpoint import Checkpoint
from impasto.weights.detect import open_model
from impasto.weights.home import NAMES, PACKAGED
from impasto.weights.layouts import ldm
from impasto.weights.load import LoadedModel
from impasto.weights.store import find


class Style(Frozen):
    """A style that a model learned by name."""

    name: str
    prompt: str


class ModelInfo(BaseModel):
    """A model that is offered.

    Attributes:
        id: by which to ask for it.
        name: what people call it.
        digest: identity of its weights and configuration.
        short_hash: beginning of that, as people quote it.
        family: what its networks are.
        prediction: what its UNet predicts.
        resolution: side of its pictures in pixels.
        licence: SPDX identifier or expression, where the model says so.
        size_bytes: of its files of weights.
        inpaints: whether it fills in parts of a picture and does nothing else.
        styles: that it learned by name, each with a prompt in which {prompt} stands for what to show.
        examples: prompts to begin with.
        has_corpus: whether it is known what it learned from.
        consent: how many works it learned from by which right, as its receipt says: `unknown` are those of which nobody
            said it. None where it has no receipt.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    digest: Digest
    short_hash: str
    family: str
    prediction: str
    resolution: int
    licence: str | None
    size_bytes: int
    inpaints: bool
    has_corpus: bool
    consent: dict[str, int] | None
    styles: tuple[Style, ...] = ()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Offered:
    """A model that is offered, and how to get at it.

    Attributes:
        info: what people are told.
        path: of its files.
        checkpoint: what they hold.
        paper: it without its weights: writes recipes and checks them, and cannot make a picture.
    """

    info: ModelInfo
    path: Path
    checkpoint: Checkpoint
    paper: Model

    @cached_property
    def origin(self) -> dict[str, Any]:
        """What it was made from; see `server.origin`."""
        return origin(self.checkpoint.receipt, self.path)


class Shelf:
    """The models of a server, by id; the first is the default."""

    def __init__(
        self,
        models: Sequence[str],
        device: str = "cpu",
        dtype: str | None = None,
        adapters: Sequence[str] = (),
        embeddings: Sequence[str] = (),
    ) -> None:
        """Open `models`, names or paths; reads all of their weights once, for the digests.

        Args:
            models: to offer.
            device: that they will be on.
            dtype: of their networks; None as `impasto.load` has it.
            adapters: that prompts may call, by path or name.
            embeddings: the same.

        Raises:
            NotFound, WeightsError: one of them cannot be used.
            InvalidInput: there are none.
        """
        if not models:
            raise InvalidInput("A server needs at least one model. Name it: --model PATH.")
        self._models: dict[str, Offered] = {}
        for name in models:
            checkpoint, path = _opened(name)
            number_format = _dtype(checkpoint, device, dtype)
            paper = on_paper(checkpoint, number_format, library(checkpoint.spec, adapters, embeddings))
            info = _info(checkpoint, path, self._models)
            self._models[info.id] = Offered(info, path, checkpoint, paper)

    def __iter__(self) -> Iterator[Offered]:
        return iter(self._models.values())

    @property
    def default(self) -> Offered:
        """The first one."""
        return next(iter(self._models.values()))

    def find(self, name: str | None) -> Offered:
        """Return the model called `name`: its id, name, digest, or a beginning of that of 8 digits or more.

        Raises:
            NotFound: there is none; lists those there are.
        """
        if name is None:
            return self.default
        if name in self._models:
            return self._models[name]
        hexes = name.removeprefix("sha256:").lower()
        for model in self:
            its = model.info.digest.removeprefix("sha256:")
            if name == model.info.name or (len(hexes) >= 8 and its.startswith(hexes)):
                return model
        raise NotFound.among("model", name[:100], self._models)

    def by_digest(self, digest: str) -> Offered:
        """Return the model with this digest.

        Raises:
            NotFound: it is no longer offered.
        """
        for model in self:
            if model.info.digest == digest:
                return model
        raise NotFound(f"The model {digest} is not offered by this server any more.")


def _opened(name: str) -> tuple[Checkpoint, Path]:
    path = find(name, "model", {packaged: PACKAGED / packaged for packaged in NAMES}).resolve()
    checkpoint = open_model(path)
    receipts.check(checkpoint, path)
    return checkpoint, path


def on_paper(checkpoint: Checkpoint, dtype: torch.dtype, called: Library | None = None) -> Model:
    """Return the model of `checkpoint` with networks of the right shapes that have no weights and take no memory."""
    spec = checkpoint.spec
    with torch.device("meta"):
        text_encoder, unet, vae = CLIPTextEncoder(spec.text), UNet(spec.unet), AutoencoderKL(spec.vae)
    for network in (text_encoder, unet, vae):
        network.to(dtype)
    networks = LoadedModel(spec, checkpoint.tokenizer, text_encoder, unet, vae, checkpoint)
    return Model(networks, checkpoint.about, called or Library())


def _dtype(checkpoint: Checkpoint, device: str, dtype: str | None) -> torch.dtype:
    """Return the number format that loading gives; see `impasto.load`."""
    if dtype:
        return DTYPES[dtype]
    if find_device(device).type == "cpu":
        return torch.float32
    unet = checkpoint.components["unet"]
    return unet.file.entries[next(iter(unet.names.values()))].dtype


def _info(checkpoint: Checkpoint, path: Path, taken: dict[str, Offered]) -> ModelInfo:
    spec, name, digest = checkpoint.spec, checkpoint.about.name, checkpoint.digest
    short = infotext.short(digest)
    id_ = re.sub(r"[^\w.-]+", "-", name).strip("-.") or short
    files = {file for part in checkpoint.components.values() for file in part.file.paths}
    return ModelInfo(
        id=id_ if id_ not in taken else f"{id_}-{short}",
        name=name,
        digest=digest,
        short_hash=short,
        family=ldm.architecture(spec),
        prediction=spec.prediction,
        resolution=spec.resolution,
        licence=checkpoint.receipt.licence if checkpoint.receipt else None,
        size_bytes=sum(file.stat().st_size for file in files),
        inpaints=spec.unet.in_channels == 2 * spec.vae.latent_channels + 1,
        has_corpus=(path / receipts.CORPUS / MANIFEST).is_file(),
        consent=checkpoint.receipt.consent if checkpoint.receipt else None,
        **_suggestions(checkpoint),
    )


def _suggestions(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what the plan that the model was trained by suggests to ask it for."""
    use = checkpoint.receipt and checkpoint.receipt.plans.get("model")
    try:
        plan = ModelPlan.model_validate(use.plan) if use else None
    except ValueError:  # another version's plan
        plan = None
    if plan is None:
        return {}
    worded = next((text for text in plan.captions.templates if "{style}" in text and "{caption}" in text), None)
    names = dict.fromkeys(plan.captions.styles.values())
    styles = [{"name": name, "prompt": worded.format(caption="{prompt}", style=name)} for name in names if worded]
    return {"styles": styles, "examples": [prompt for prompt in plan.sample_prompts if prompt]}
