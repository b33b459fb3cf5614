"""Weights before any training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from impasto.training.draws import generator

Module = TypeVar("Module", bound=nn.Module)

#: Last layers of residual paths: at zero, a network starts as its shortest path (Dhariwal & Nichol 2105.05233).
LAST_LAYERS = ("conv2", "to_out.0", "ff.net.2", "proj_out")


def fresh(build: Callable[[], Module], seed: int, purpose: str, zeros: tuple[str, ...] = LAST_LAYERS) -> Module:
    """Build a module with torch's own random weights, drawn from `seed`; layers with names ending in `zeros` are 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, purpose).initial_seed())
        module = build()
    for name, layer in module.named_modules():
        if name.endswith(zeros):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
    return module
