"""Adapters that are being trained: what to make, and the parameters to train.

They are put on the networks by `attach.attached`, as finished ones are, so that what was trained is what is used.
Sources: Hu et al. 2021, "LoRA"; Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA";
Liu et al. 2024, "DoRA".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from impasto.adapters.attach import Parts
from impasto.adapters.layouts import PARTS, Part
from impasto.adapters.lora import Adapter
from impasto.adapters.lowrank import Layer, LowRank
from impasto.errors import InvalidInput
from impasto.schema import Frozen

MODULES: dict[str, dict[Part, str]] = {
    "attention": {
        "unet": r"(.*\.)?attn[12]\.(to_[qkv]|to_out\.0)",
        "text_encoder": r"(.*\.)?self_attn\.(q|k|v|out)_proj",
    },
    "cross_attention": {"unet": r"(.*\.)?attn2\.(to_[qkv]|to_out\.0)"},
    "feed_forward": {"unet": r"(.*\.)?ff\.net\.(0\.proj|2)", "text_encoder": r"(.*\.)?mlp\.fc[12]"},
    "projections": {"unet": r"(.*\.)?attentions\.\d+\.proj_(in|out)"},
    "convolutions": {"unet": r"(.*\.)?(resnets\.\d+\.(conv1|conv2|conv_shortcut)|(down|up)samplers\.\d+\.conv)"},
    "time": {"unet": r"(.*\.)?resnets\.\d+\.time_emb_proj"},
}
"""Groups of layers by the names that people know; (part) -> pattern of a layer's path."""

Modules = Literal["attention", "cross_attention", "feed_forward", "projections", "convolutions", "time"]


class LoRAConfig(Frozen):
    """What kind of adapter to train."""

    rank: int = Field(default=16, ge=1, le=1024, description="of every layer's change; a layer's own size is the most")
    alpha: float | None = Field(
        default=None, gt=0, description="the change is scaled by alpha / rank; None is the rank"
    )
    parts: tuple[Part, ...] = Field(default=("unet",), min_length=1, description="networks to change")
    modules: tuple[Modules, ...] = Field(default=("attention",), min_length=1, description="layers to change")
    conv_rank: int | None = Field(default=None, ge=1, le=1024, description="of 3x3 convolutions; None is the rank")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of a layer's inputs that its change does not see"
    )
    rank_stabilised: bool = Field(default=False, description="scale by alpha / sqrt(rank) (rsLoRA)")
    dora: bool = Field(default=False, description="train the lengths of the weights' rows too (DoRA)")
    start: Literal["kaiming", "gaussian"] = Field(
        default="kaiming", description="random start of the down factors: peft's and kohya's, or diffusers' scripts'"
    )

    @model_validator(mode="after")
    def _no_repeats(self) -> Self:
        for name, values in (("parts", self.parts), ("modules", self.modules)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names something twice: {', '.join(values)}")
        return self

    def scale(self, rank: int) -> float:
        """Return what a product of this `rank` is multiplied by."""
        alpha = rank if self.alpha is None else self.alpha
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


class TrainableLowRank(nn.Module):
    """The change of one layer, to be trained; float32 whatever the layer is. See `LowRank`."""

    def __init__(self, layer: Layer, config: LoRAConfig, index: int, generator: torch.Generator) -> None:
        super().__init__()
        weight = layer.weight
        conv = weight.ndim == 4 and weight.shape[2:] != (1, 1)
        rank = min(config.conv_rank or config.rank if conv else config.rank, weight.shape[0], weight[0].numel())
        self.scale, self.dropout, self._index, self.seed = config.scale(rank), config.dropout, index, 0
        shape = (rank, *weight.shape[1:])
        self.down = nn.Parameter(_start(shape, config.start, generator).to(weight.device))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank, *(1,) * (weight.ndim - 2), device=weight.device))
        self.mid = self.kron = None
        lengths = torch.linalg.vector_norm(weight.detach().float().flatten(1), dim=1) if config.dora else None
        self.dora = None if lengths is None else nn.Parameter(lengths.reshape(-1, *(1,) * (weight.ndim - 1)))

    def entering(self, x: Tensor) -> Tensor:
        """Return `x` with some of its numbers 0 while training with dropout; which ones, follows from `seed`."""
        if not self.training or not self.dropout:
            return x
        # Drawn anew from the seed, the mask is the same when gradient checkpointing comes by a second time.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self._index) % 2**63)
        kept = torch.rand(x.shape, generator=generator) >= self.dropout
        return x * kept.to(x.device) / (1 - self.dropout)

    def still(self) -> LowRank:
        """Return the change as it is now."""
        dora = None if self.dora is None else self.dora.detach().clone()
        down, up = self.down.detach().clone(), self.up.detach().clone()
        return LowRank(down, up, self.scale * down.shape[0], None, dora)


def _start(shape: tuple[int, ...], kind: str, generator: torch.Generator) -> Tensor:
    if kind == "gaussian":
        return torch.randn(shape, generator=generator) / shape[0]
    bound = 1 / math.sqrt(math.prod(shape[1:]))  # kaiming_uniform_ with a = sqrt(5)
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


class TrainableAdapter(nn.Module):
    """An adapter to be trained: its parameters are called `unet.<path>.down`, `.up` and `.dora`, float32.

    Attributes:
        name: what to call it in messages.
        config: what kind it is.
        parts: (part) -> (path of a layer) -> the change to train.
    """

    def __init__(
        self, networks: Parts, config: LoRAConfig, *, generator: torch.Generator, name: str = "being trained"
    ) -> None:
        """Make the parameters for the layers of `networks` that `config` chooses; nothing is attached yet.

        Args:
            networks: whose layers are to be changed.
            config: what kind of adapter.
            generator: on the CPU, of the random start.
            name: what to call it in messages.

        Raises:
            InvalidInput: a part in which there is no layer of the kinds chosen.
        """
        super().__init__()
        self.name, self.config = name, config
        self.parts: dict[Part, dict[str, TrainableLowRank]] = {}
        for part in (part for part in PARTS if part in config.parts):
            for path, layer in chosen(getattr(networks, part), part, config):
                change = TrainableLowRank(layer, config, len(list(self._changes())), generator)
                self.parts.setdefault(part, {})[path] = change
                _put(self, f"{part}.{path}", change)

    def _changes(self) -> Iterator[TrainableLowRank]:
        return (change for layers in self.parts.values() for change in layers.values())

    def reseed(self, seed: int) -> None:
        """Let what dropout leaves out from now on follow from `seed`: give each step its own."""
        for change in self._changes():
            change.seed = seed

    def adapter(self, name: str, metadata: Mapping[str, str] | None = None) -> Adapter:
        """Return the adapter as it is now, in copies."""
        parts = {part: {path: change.still() for path, change in layers.items()} for part, layers in self.parts.items()}
        return Adapter(name, parts, dict(metadata or {}))


def chosen(network: nn.Module, part: Part, config: LoRAConfig) -> list[tuple[str, Layer]]:
    """Return the layers of `network` that `config` chooses, with their paths, in the network's order.

    Raises:
        InvalidInput: there is none.
    """
    patterns = [MODULES[name][part] for name in config.modules if part in MODULES[name]]
    pattern = re.compile("|".join(f"({pattern})" for pattern in patterns))
    layers = [
        (path, layer)
        for path, layer in network.named_modules()
        if patterns and isinstance(layer, (nn.Linear, nn.Conv2d)) and pattern.fullmatch(path)
    ]
    if not layers:
        there = ", ".join(name for name, row in MODULES.items() if part in row)
        raise InvalidInput(f"modules {', '.join(config.modules)} choose no layer of the {part}. It has: {there}.")
    return layers


def _put(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put `module` into `root` at `path`, so that its parameters are called by that path."""
    *before, last = path.split(".")
    for word in before:
        if not hasattr(root, word):
            root.add_module(word, nn.Module())
        root = getattr(root, word)
    root.add_module(last, module)
