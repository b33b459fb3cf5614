"""Random adapters for the tiny networks of other tests."""

from __future__ import annotations

from typing import Any

import torch

from impasto.adapters.lora import Adapter
from impasto.adapters.trainable import LoRAConfig, TrainableAdapter
from impasto.weights.load import Networks
from tests.weights import tiny

EVERYTHING = ("attention", "feed_forward", "projections", "convolutions", "time")
BOTH = ("unet", "text_encoder")


def adapter(networks: Networks | None = None, *, seed: int = 0, name: str = "random", **config: Any) -> Adapter:
    """Return an adapter of random factors, none of them zero, large enough to be seen."""
    generator = torch.Generator().manual_seed(seed)
    config = {"rank": 4, "alpha": 3.0, "parts": BOTH, "modules": EVERYTHING, **config}
    trained = TrainableAdapter(networks or tiny.networks(), LoRAConfig(**config), generator=generator)
    with torch.no_grad():
        for key, tensor in trained.named_parameters():
            if key.endswith("up"):
                tensor += 0.3 * torch.randn(tensor.shape, generator=generator)
            if key.endswith("dora"):
                tensor *= 1 + 0.2 * torch.rand(tensor.shape, generator=generator)
    return trained.adapter(name)


def outputs(networks: Networks) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the text encoder puts out for some tokens, and the UNet for some latents and those."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, networks.spec.text.vocab_size, (1, 24), generator=generator)
    x = torch.randn(1, networks.spec.unet.in_channels, 8, 8, generator=generator)
    with torch.no_grad():
        context = networks.text_encoder(ids)
        return context, networks.unet(x, torch.tensor([700.0]), context)
