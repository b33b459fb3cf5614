"""Whole models merged, one tensor at a time.

Sources: AUTOMATIC1111's checkpoint merger (weighted sum, add difference); Shoemake 1985, "Animating Rotation with
Quaternion Curves" (slerp), here of each tensor as one vector.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from impasto import __version__
from impasto.adapters.attach import fitted
from impasto.adapters.layouts import PARTS
from impasto.adapters.lora import Adapter
from impasto.adapters.lowrank import Change, product_shape, weight_change
from impasto.adapters.merge import Share, inherited, parent
from impasto.adapters.metadata import receipt_of
from impasto.adapters.progress import Progress
from impasto.errors import InvalidInput, KeyMismatch, UnsupportedConfig, printable
from impasto.models.clip import CLIPTextEncoder
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL
from impasto.receipt import Parent, PlanUse, Receipt
from impasto.schema import Frozen
from impasto.weights import files
from impasto.weights.checkpoint import About, Checkpoint, Component
from impasto.weights.detect import open_model
from impasto.weights.load import Networks, load_module, save_file, save_folder

COLINEAR = 1e-6  # radians between two tensors, below which slerp is a weighted sum


class Mixture(Frozen):
    """How models are merged, and how much of each."""

    method: Literal["weighted-sum", "add-difference", "slerp"] = Field(description="how")
    weights: tuple[float, ...] = Field(
        min_length=1,
        description="weighted-sum: of each model; add-difference: one, of (second - third); slerp: one, 0 is the first",
    )

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.method != "weighted-sum" and len(self.weights) != 1:
            raise ValueError(f"{self.method} takes one weight, not {len(self.weights)}")
        if not all(map(math.isfinite, self.weights)):
            raise ValueError(f"weights must be finite, not {self.weights}")
        return self

    def of(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return `tensors` (float32, one of each model) merged."""
        if self.method == "weighted-sum":
            total = torch.zeros_like(tensors[0])
            for tensor, weight in zip(tensors, self.weights, strict=True):
                total += weight * tensor
            return total
        if self.method == "slerp":
            return slerp(tensors[0], tensors[1], self.weights[0])
        return tensors[0] + self.weights[0] * (tensors[1] - tensors[2])

    def check(self, count: int) -> None:
        """See that `count` models go with this.

        Raises:
            InvalidInput: they do not.
        """
        wanted = {"weighted-sum": len(self.weights), "add-difference": 3, "slerp": 2}[self.method]
        if count != wanted:
            given = f" with {len(self.weights)} weights" if self.method == "weighted-sum" else ""
            raise InvalidInput(f"{self.method}{given} takes {wanted} models, not {count}.")


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return the point at `t` (0 to 1) of the arc from `a` to `b`; for those of one direction, of the line."""
    lengths = (a.norm() * b.norm()).clamp_min(torch.finfo(a.dtype).tiny)
    angle = torch.arccos(((a * b).sum() / lengths).clamp(-1, 1)).item()
    if angle < COLINEAR or math.pi - angle < COLINEAR:
        return torch.lerp(a, b, t)
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)


def mixed(
    models: Sequence[Checkpoint], mixture: Mixture, target: Path, dtype: torch.dtype | None = None
) -> Iterator[Progress[Checkpoint]]:
    """Merge text encoders and UNets of `models` and write the result; yields after each tensor.

    Tokenizer, settings and autoencoder are those of the first. One tensor of each model is in memory at a time; beside
    the result, a file of the same size is there while this runs.

    Args:
        models: opened, in the order that the mixture's weights are for.
        mixture: how to merge.
        target: file (`.safetensors`) or folder to write, which must not be there.
        dtype: of the weights; by itself those of the first model.

    Raises:
        InvalidInput: something is at `target`, or the number of models does not go with the method.
        UnsupportedConfig: their networks have different shapes.
    """
    mixture.check(len(models))
    check_alike(models)

    def tensor(part: str, name: str) -> Tensor:
        if part == "vae":
            return read(models[0], part, name)
        return mixture.of([read(model, part, name).float() for model in models])

    receipt = Receipt(
        kind="merge",
        name=target.stem,
        parents=tuple(model_parent(model, _role(mixture, index)) for index, model in enumerate(models)),
        plans={"merge": PlanUse.of(mixture.plain())},
        code=f"impasto {__version__}",
        **inherited([model.receipt for model in models]),
    )
    notices = _joined_notices(models)
    yield from _written(dataclasses.replace(models[0], notices=notices), tensor, target, receipt, dtype)


def _role(mixture: Mixture, index: int) -> str:
    return ("merged", "added", "subtracted")[index] if mixture.method == "add-difference" else "merged"


def baked(
    model: Checkpoint, shares: Sequence[Share], target: Path, dtype: torch.dtype | None = None
) -> Iterator[Progress[Checkpoint]]:
    """Put adapters into the weights of `model` for good and write the result; yields after each tensor.

    Args:
        model: opened.
        shares: adapters with their weights.
        target: file (`.safetensors`) or folder to write, which must not be there.
        dtype: of the weights; by itself those of the model.

    Raises:
        InvalidInput: something is at `target`.
        KeyMismatch: an adapter has a layer that the model has not.
    """
    for share in shares:
        _check_fits(share.adapter, model)

    def tensor(part: str, name: str) -> Tensor:
        own = read(model, part, name)
        changes = _changes(shares, part, name.removesuffix(".weight")) if name.endswith(".weight") else []
        if not changes:
            return own
        result = own.float()
        for change, weight in changes:
            if (fitting := fitted(change, own.float())) is not None and weight:
                result = result + weight * weight_change(own.float(), fitting)
        return result

    receipt = Receipt(
        kind="merge",
        name=target.stem,
        parents=(model_parent(model, "start"), *(parent(share.adapter, "merged") for share in shares)),
        plans={"merge": PlanUse.of({"method": "bake", "weights": [[s.unet, s.text_encoder] for s in shares]})},
        code=f"impasto {__version__}",
        **inherited([model.receipt, *(receipt_of(share.adapter) for share in shares)]),
    )
    yield from _written(model, tensor, target, receipt, dtype)


def _changes(shares: Sequence[Share], part: str, path: str) -> list[tuple[Change, float]]:
    return [
        (share.adapter.parts[known][path], getattr(share, known))
        for share in shares
        for known in PARTS
        if known == part and path in share.adapter.parts.get(known, {})
    ]


def _check_fits(adapter: Adapter, model: Checkpoint) -> None:
    unknown, misshapen = [], []
    for part, layers in adapter.parts.items():
        component = model.components[part]
        for path, change in layers.items():
            if (name := component.names.get(f"{path}.weight")) is None:
                unknown.append(f"{part}.{path}")
            elif fitted(change, torch.empty(shape := component.file.entries[name].shape, device="meta")) is None:
                misshapen.append(f"{part}.{path}: {product_shape(change)} for {shape}")
    if unknown or misshapen:
        raise KeyMismatch(f"The adapter {printable(adapter.name)}", unknown, (), misshapen)


def read(model: Checkpoint, part: str, name: str) -> Tensor:
    """Return a copy of parameter `name` of one of the networks."""
    component = model.components[part]
    return component.file.read(component.names[name])


def _written(
    first: Checkpoint,
    tensor: Callable[[str, str], Tensor],
    target: Path,
    receipt: Receipt,
    dtype: torch.dtype | None,
) -> Iterator[Progress[Checkpoint]]:
    """Write `first` with other weights: one after the other into a file beside, and from there into `target`."""
    if target.exists():
        raise InvalidInput(f"{target} is there already, and is not overwritten. Choose another name.")
    outlines = {
        f"{part}.{name}": torch.empty(entry.shape, dtype=dtype or entry.dtype, device="meta")
        for part, component in first.components.items()
        for name, entry in ((ours, component.file.entries[theirs]) for ours, theirs in component.names.items())
    }

    def make(name: str) -> Tensor:
        part, _, own = name.partition(".")
        return tensor(part, own).to(outlines[name].dtype)

    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        staged = Path(folder) / "weights.safetensors"
        for done, name in enumerate(files.saving(staged, outlines, make), start=1):
            yield Progress(done, len(outlines) + 1, name)
        networks = _mapped(first, staged)
        about = About(name=target.stem[:200], settings=first.about.settings)
        save = save_file if target.suffix == ".safetensors" else save_folder
        save(target, networks, about, receipt=receipt, notices=first.notices)
        del networks
    yield Progress(len(outlines) + 1, len(outlines) + 1, target.name, open_model(target))


def _mapped(first: Checkpoint, staged: Path) -> Networks:
    file, spec = files.load(staged), first.spec
    components = {
        part: Component(
            file.viewed({f"{part}.{name}": file.entries[f"{part}.{name}"] for name in component.names}),
            {name: f"{part}.{name}" for name in component.names},
        )
        for part, component in first.components.items()
    }
    return Networks(
        spec,
        first.tokenizer,
        load_module(lambda: CLIPTextEncoder(spec.text), components["text_encoder"]),
        load_module(lambda: UNet(spec.unet), components["unet"]),
        load_module(lambda: AutoencoderKL(spec.vae), components["vae"]),
    )


def check_alike(models: Sequence[Checkpoint]) -> None:
    """See that all `models` have the same networks and predict the same.

    Raises:
        UnsupportedConfig: they do not; names the first field that differs.
    """
    first = models[0]
    for model in models[1:]:
        for field in ("unet", "text", "prediction"):
            ours, theirs = getattr(first.spec, field), getattr(model.spec, field)
            if ours != theirs:
                problem = f"{field}: not that of {printable(first.about.name)}, {ours!r:.300}, but {theirs!r:.300}"
                raise UnsupportedConfig(printable(model.about.name), [problem])
        missing = [
            f"{part}.{name}"
            for part in ("unet", "text_encoder")
            for name in first.components[part].names.keys() ^ model.components[part].names.keys()
        ]
        if missing:
            raise KeyMismatch(printable(model.about.name), (), missing)


def model_parent(model: Checkpoint, role: str) -> Parent:
    """Return `model` as a parent in a receipt; reads all its weights, for the digest."""
    return Parent(name=model.about.name, identity=model.digest, role=role)


def _joined_notices(models: Sequence[Checkpoint]) -> Mapping[str, str]:
    """Return the notices of all models; of one kind, one text after the other."""
    result: dict[str, list[str]] = {}
    for model in models:
        for name, text in model.notices.items():
            if text not in result.setdefault(name, []):
                result[name].append(text)
    return {name: "\n\n".join(texts) for name, texts in result.items()}
