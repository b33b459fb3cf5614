"""A tiny random inpainting model."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch

from impasto.models.unet import UNet
from impasto.weights.load import Networks
from tests.weights import tiny


@functools.cache
def inpainting() -> Networks:
    """Return the tiny model with a UNet that also sees a mask and a masked picture."""
    networks = tiny.networks()
    unet = networks.spec.unet.model_copy(update={"in_channels": 9})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = UNet(unet).eval().requires_grad_(False)
    return replace(networks, spec=networks.spec.model_copy(update={"unet": unet}), unet=network)
