from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from benchmarks.training import Kept
from impasto.adapters.attach import Use, attached
from impasto.adapters.trainable import LoRAConfig, Modules, TrainableAdapter
from impasto.models.unet import UNet, UNetConfig
from impasto.training.lean import Lean
from impasto.training.recomputing import recomputed
from impasto.training.student import Pair

CONFIG = UNetConfig(
    block_out_channels=(32, 64),
    layers_per_block=1,
    attention=(True, False),
    heads=(2, 4),
    cross_attention_dim=32,
    norm_num_groups=8,
)


@pytest.mark.parametrize("modules", [("attention",), ("attention", "feed_forward", "convolutions", "time")])
def test_what_is_kept_is_less_and_what_comes_out_is_the_same(modules: tuple[Modules, ...]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet(CONFIG).requires_grad_(False)
        pair = Pair(unet, nn.Identity())
        adapter = TrainableAdapter(
            pair, LoRAConfig(rank=2, modules=modules), generator=torch.Generator().manual_seed(1)
        )
        for parameter in adapter.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        x, context = torch.randn(2, 4, 16, 16), torch.randn(2, 5, 32)
    results = []
    for how in (nullcontext(), Lean(), recomputed(unet)):
        kept = Kept([*unet.parameters(), *adapter.parameters()])
        adapter.zero_grad()
        with attached(pair, [Use(adapter)]), kept.hooks, how:
            out = unet(x, torch.tensor([5.0, 900.0]), context)
            size = kept.bytes
            out.square().mean().backward()
        results.append((size, out.detach(), [parameter.grad for parameter in adapter.parameters()]))
    (size, out, gradients), (lean_size, lean, lean_gradients), (few, *_) = results
    assert torch.equal(out, lean)
    assert all((a - b).abs().max() <= 1e-5 * a.abs().max() for a, b in zip(gradients, lean_gradients, strict=True))
    assert lean_size < (0.6 if modules == ("attention",) else 0.95) * size
    assert few < 0.5 * size


def test_layers_that_learn_are_left_alone() -> None:
    layer = nn.Sequential(nn.Conv2d(4, 8, 3), nn.GroupNorm(2, 8), nn.SiLU())
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = []
    for how in (nullcontext(), Lean()):
        layer.zero_grad()
        with how:
            out = layer(x)
        out.sum().backward()
        found.append([parameter.grad.clone() for parameter in layer.parameters()])  # type: ignore[union-attr]  # there
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
