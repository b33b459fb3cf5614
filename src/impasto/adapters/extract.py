"""An adapter out of two models: what the one has learned since it was the other, by singular values.

Source: kohya-ss/sd-scripts `networks/extract_lora_from_models.py`, whose defaults these are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor

from impasto import __version__
from impasto.adapters.layouts import PARTS, Part
from impasto.adapters.lora import Adapter
from impasto.adapters.lowrank import LowRank
from impasto.adapters.merge import inherited
from impasto.adapters.models import check_alike, model_parent
from impasto.adapters.progress import Progress
from impasto.adapters.svd import Factored, Size, factored
from impasto.adapters.trainable import MODULES
from impasto.errors import InvalidInput
from impasto.receipt import PlanUse, Receipt
from impasto.schema import Frozen
from impasto.weights.checkpoint import Checkpoint

KEPT = "impasto.kept"
"""In the metadata of what was extracted: the share of the difference that it holds, by Frobenius norm."""


class Extraction(Frozen):
    """How an adapter is taken out of two models."""

    size: Size = Field(default=Size(rank=4), description="of linear layers and 1x1 convolutions")
    conv_size: Size | None = Field(default=None, description="of 3x3 convolutions; None leaves them out")
    clamp: float = Field(default=0.99, gt=0, le=1, description="quantile to which the factors are cut off; 1 for none")
    least: float = Field(
        default=0.01, ge=0, description="a text encoder of which no weight differs by more is left out"
    )


def extracted(
    base: Checkpoint, tuned: Checkpoint, name: str, plan: Extraction | None = None
) -> Iterator[Progress[Adapter]]:
    """Make the adapter that turns `base` into `tuned` as far as its size allows; yields after each layer.

    Two weights are in memory at a time. The metadata of the result say which share of the difference it holds.

    Raises:
        UnsupportedConfig: the models' networks have different shapes.
        InvalidInput: there is no difference between the two.
    """
    plan = plan or Extraction()
    check_alike([base, tuned])
    places = [(part, path) for part in PARTS for path in _layers(base, part, plan)]
    parts: dict[Part, dict[str, LowRank]] = {}
    kept, whole, largest = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0.0), 0.0
    for done, (part, path) in enumerate(places, start=1):
        difference = _weight(tuned, part, path) - _weight(base, part, path)
        if part == "text_encoder":
            largest = max(largest, difference.abs().max().item())
        apart = factored(difference)
        whole[part] += apart.s.square().sum().item()
        if apart.s[0] > 0:
            count = (plan.size if difference[0, 0].numel() == 1 else plan.conv_size or plan.size).of(apart.s)
            kept[part] += apart.s[:count].square().sum().item()
            parts.setdefault(part, {})[path] = _clamped(apart, count, plan.clamp)
        if done == len(places):
            break
        yield Progress(done, len(places), f"{part}.{path}")
    if largest <= plan.least:
        parts.pop("text_encoder", None)
    if not parts:
        raise InvalidInput(f"{base.about.name} and {tuned.about.name} do not differ in any layer that is looked at.")
    share = sum(kept[part] for part in parts) / sum(whole[part] for part in parts)
    told = {KEPT: f"{share**0.5:.4f}"}
    yield Progress(len(places), len(places), "", Adapter(name, parts, told))


def _layers(checkpoint: Checkpoint, part: Part, plan: Extraction) -> list[str]:
    groups = ["attention", "feed_forward", "projections"] + (["convolutions", "time"] if plan.conv_size else [])
    pattern = re.compile("|".join(f"({MODULES[group][part]})" for group in groups if part in MODULES[group]))
    paths = (name.removesuffix(".weight") for name in checkpoint.components[part].names if name.endswith(".weight"))
    return [path for path in paths if pattern.fullmatch(path)]


def _weight(checkpoint: Checkpoint, part: Part, path: str) -> Tensor:
    component = checkpoint.components[part]
    return component.file.read(component.names[f"{path}.weight"]).float()


def _clamped(apart: Factored, count: int, quantile: float) -> LowRank:
    """Return the first `count` singular values as a change whose factors are cut off at a quantile of both."""
    up, down = apart.u[:, :count] * apart.s[:count], apart.v[:count]
    if quantile < 1:
        numbers = torch.cat([up.flatten(), down.flatten()]).sort().values
        most = numbers[min(len(numbers) - 1, round(quantile * (len(numbers) - 1)))].item()
        up, down = up.clamp(-most, most), down.clamp(-most, most)
    return apart.change(up, down)


def extract_receipt(base: Checkpoint, tuned: Checkpoint, name: str, plan: Extraction) -> Receipt:
    """Return the receipt of what was extracted: both models are its parents."""
    return Receipt(
        kind="adapter",
        name=name,
        parents=(model_parent(base, "start"), model_parent(tuned, "extracted from")),
        plans={"extraction": PlanUse.of(plan.plain())},
        code=f"impasto {__version__}",
        **inherited([tuned.receipt]),
    )
