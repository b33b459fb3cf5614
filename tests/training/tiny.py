"""Tiny training plans, as TOML and as data: what the training tests share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from impasto.training.loop import Tick
from impasto.training.plans import AutoencoderPlan, ModelPlan

VAE = {
    "block_out_channels": [8, 8, 16],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "scaling_factor": 1.0,
}
SPEC = {
    "name": "tiny",
    "unet": {
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [16, 32],
        "layers_per_block": 1,
        "attention": [True, False],
        "heads": [2, 2],
        "cross_attention_dim": 16,
        "norm_num_groups": 8,
    },
    "vae": VAE,
    "text": {
        "vocab_size": 514 + 100,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
    },
    "tokenizer": "merges.txt",
    "prediction": "v_prediction",
    "resolution": 32,
}


def shared(steps: int, size: int = 32) -> dict[str, Any]:
    """Return what both kinds of plan have."""
    return {
        "name": "tiny",
        "seed": 3,
        "stages": [
            {"size": 16, "batch": 4, "steps": steps // 2},
            {"size": size, "batch": 3, "steps": steps - steps // 2},
        ],
        "optimiser": {"name": "muon", "warmup": 2},
        "checkpoint_every": 4,
        "sheet_every": 8,
        "log_every": 2,
    }


def autoencoder(steps: int = 12, **changes: Any) -> dict[str, Any]:
    """Return an autoencoder plan."""
    return {"kind": "autoencoder", **shared(steps), "model": VAE, "equivariance": {"share": 0.5}, **changes}


def model(steps: int = 12, **changes: Any) -> dict[str, Any]:
    """Return a model plan."""
    return {"kind": "model", **shared(steps), "model": SPEC, "sample_prompts": ["fox", "owl, aa style"], **changes}


def autoencoder_plan(steps: int = 12, **changes: Any) -> AutoencoderPlan:
    """Return a parsed autoencoder plan."""
    return AutoencoderPlan.parse(autoencoder(steps, **changes), "the plan")


def model_plan(steps: int = 12, **changes: Any) -> ModelPlan:
    """Return a parsed model plan."""
    return ModelPlan.parse(model(steps, **changes), "the plan")


def toml(data: dict[str, Any]) -> str:
    """Return `data` as one inline TOML document."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in data.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value).lower() if isinstance(value, (bool, int, float)) else f'"{value}"'


def write(folder: Path, name: str, plan: dict[str, Any]) -> Path:
    """Write `plan` into `folder`."""
    file = folder / f"{name}.toml"
    file.write_text(toml(plan))
    return file


def finish(events: Iterable[object]) -> list[Tick]:
    """Drive a run to its end, and return its steps."""
    return [event for event in events if isinstance(event, Tick)]
