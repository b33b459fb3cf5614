"""A model by its name or path, on a device."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch

from impasto.errors import InvalidInput, NotFound
from impasto.models.specs import ModelSpec
from impasto.pipeline.library import Library, word
from impasto.pipeline.model import Model
from impasto.rights import receipts
from impasto.weights.detect import Choices
from impasto.weights.home import NAMES, PACKAGED
from impasto.weights.load import load_model
from impasto.weights.store import Kind, everything, find

__all__ = ["DTYPES", "NAMES", "PACKAGED", "find_device", "load"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Number formats of networks, as recipes name them."""


def load(
    model: str | os.PathLike[str] = "glyph",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    vae: str | os.PathLike[str] | None = None,
    ema: bool = False,
    verify: bool = True,
    adapters: Iterable[str | os.PathLike[str]] = (),
    embeddings: Iterable[str | os.PathLike[str]] = (),
) -> Model:
    """Load a model; see `impasto.load`."""
    device, place = find_device(device), _place(model)
    dtype = torch.float32 if dtype is None and device.type == "cpu" else dtype
    loaded = load_model(place, dtype, device, Choices(ema=ema, vae=_place(vae, "vae") if vae else None))
    if verify:
        substitute = loaded.checkpoint.substitute
        receipts.check(substitute.model if substitute else loaded.checkpoint, place)
    return Model(loaded, loaded.checkpoint.about, library(loaded.spec, adapters, embeddings, verify=verify))


def library(
    spec: ModelSpec,
    adapters: Iterable[str | os.PathLike[str]],
    embeddings: Iterable[str | os.PathLike[str]],
    *,
    verify: bool = True,
) -> Library:
    """Return the adapters and embeddings given, by path or name, and all those that were pulled and have other names.

    Raises:
        NotFound: one is not there.
    """
    given = Library.of([_place(one, "adapter") for one in adapters], [_place(one, "embedding") for one in embeddings])
    adapted = {name: (path,) for name, path in everything("adapter").items()}
    learned = {word(name, path): (path,) for name, path in everything("embedding").items()}
    return Library({**adapted, **given.adapters}, {**learned, **given.embeddings}, spec.unet, verify)


def find_device(name: torch.device | str) -> torch.device:
    """Return the device called `name`; `auto` is the first GPU, or the CPU where there is none.

    Raises:
        InvalidInput: torch has no such device, or not on this machine.
    """
    kinds = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    there = [kind for kind, available in kinds.items() if available]
    try:
        device = torch.device(there[0] if name == "auto" else name)
    except RuntimeError:
        device = None
    if device is None or not kinds.get(device.type, True):
        raise InvalidInput(f"There is no device {str(name)!r} here. Choose one of: auto, {', '.join(there)}.")
    return device


def _place(model: str | os.PathLike[str], kind: Kind = "model") -> Path:
    if not isinstance(model, str):
        return Path(model)
    if model in NAMES and kind == "model" and not (PACKAGED / model).is_dir():
        raise NotFound(f"The model {model!r} is not in this installation. Give the path of a model.")
    return find(model, kind, {name: PACKAGED / name for name in NAMES} if kind == "model" else None)
