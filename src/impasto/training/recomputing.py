"""Gradient checkpointing from outside: blocks of a UNet forget what is inside them, and run again on the way back.

Source: Chen et al. 1604.06174, "Training Deep Nets with Sublinear Memory Cost".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from impasto.models.attention import SpatialTransformer
from impasto.models.resnet import ResnetBlock


@contextmanager
def recomputed(network: nn.Module) -> Iterator[None]:
    """For the time of a `with` block, which has to last until the gradient is there, keep no insides of blocks."""
    blocks = [module for module in network.modules() if isinstance(module, (ResnetBlock, SpatialTransformer))]
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)  # type: ignore[method-assign]  # taken back below
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
