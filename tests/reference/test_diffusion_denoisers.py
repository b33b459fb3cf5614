"""Denoisers against k-diffusion's: the same x0 and the same training loss from the same network."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from impasto.diffusion.denoisers import DENOISERS
from impasto.diffusion.schedules import NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear()
PEERS = {"epsilon": "DiscreteEpsDDPMDenoiser", "v_prediction": "DiscreteVDDPMDenoiser"}


def network(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    return (x + 0.01 * t.view(-1, 1, 1, 1) + context.mean((1, 2)).view(-1, 1, 1, 1)).sin()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 6, 4, 8, 8, generator=generator)
    return x, noise, torch.randn(6, 3, 5, generator=generator)


@pytest.mark.parametrize("name", DENOISERS)
def test_x0(k_diffusion: SimpleNamespace, batch: tuple[Tensor, Tensor, Tensor], name: str) -> None:
    peer = getattr(k_diffusion.external, PEERS[name])(network, SCHEDULE.alphas_cumprod, quantize=False)
    x0, noise, context = batch
    sigma = torch.tensor([0.02, 0.0292, 0.5, 1.0, 7.3, 14.6])
    x = x0 + sigma.view(-1, 1, 1, 1) * noise
    ours, theirs = DENOISERS[name](network, SCHEDULE)(x, sigma, context), peer(x, sigma, context=context)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", DENOISERS)
def test_loss(k_diffusion: SimpleNamespace, batch: tuple[Tensor, Tensor, Tensor], name: str) -> None:
    peer = getattr(k_diffusion.external, PEERS[name])(network, SCHEDULE.alphas_cumprod, quantize=False)
    x0, noise, context = batch
    t = torch.tensor([0, 1, 100, 500, 998, 999])
    ours = DENOISERS[name](network, SCHEDULE).loss(x0, noise, t, context)
    theirs = peer.loss(x0, noise, SCHEDULE.sigma(t), context=context)
    # The peer recovers v from `x0 - c_skip * x`, which loses digits where sigma is small.
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
