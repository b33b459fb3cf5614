"""Adapters that are being trained."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from impasto.adapters.attach import Use, attached
from impasto.adapters.lora import read_adapter, write_adapter
from impasto.adapters.trainable import MODULES, LoRAConfig, TrainableAdapter
from impasto.errors import InvalidInput
from impasto.weights.load import Networks
from tests.adapters import random
from tests.weights import tiny


def trainable(seed: int = 0, **config: object) -> TrainableAdapter:
    config = {"rank": 4, "parts": random.BOTH, **config}
    return TrainableAdapter(tiny.networks(), LoRAConfig(**config), generator=torch.Generator().manual_seed(seed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config", [{}, {"dora": True, "modules": random.EVERYTHING}, {"rank_stabilised": True}], ids=str
)
def test_it_changes_nothing_at_first_learns_and_is_what_is_saved(config: dict[str, object], tmp_path: object) -> None:
    networks, adapter = tiny.networks(), trainable(**config)
    base = random.outputs(networks)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=0.01)
    losses = []
    with attached(networks, [Use(adapter)]):
        for mine, before in zip(random.outputs(networks), base, strict=True):
            torch.testing.assert_close(mine, before, rtol=1e-5, atol=1e-5)
        for _ in range(3):
            context = networks.text_encoder(torch.arange(9)[None])
            out = networks.unet(torch.ones(1, 4, 8, 8), torch.tensor([5.0]), context)
            losses.append((out - 1).square().mean())
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        trained = random.outputs(networks)
    assert losses[-1] < losses[0]
    assert all(tensor.grad is None for tensor in networks.unet.parameters())

    path = tmp_path / "a.safetensors"  # type: ignore[operator]
    write_adapter(adapter.adapter("mine"), path)
    with attached(networks, [Use(read_adapter(path))]):
        for mine, kept in zip(random.outputs(networks), trained, strict=True):
            torch.testing.assert_close(mine, kept, rtol=1e-5, atol=1e-5)


def test_parameters_are_called_by_the_layers_they_are_of() -> None:
    adapter = trainable(modules=("cross_attention",), parts=("unet",), dora=True)
    names = [name for name, _ in adapter.named_parameters()]
    first = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"
    assert names[:3] == [f"{first}.down", f"{first}.up", f"{first}.dora"]
    assert all(".attn2." in name for name in names)
    copied = copy.deepcopy(adapter)
    copied.load_state_dict(adapter.state_dict())


@pytest.mark.parametrize("group", MODULES)
def test_every_group_of_modules_has_layers_in_its_parts_and_none_in_others(group: str) -> None:
    for part in random.BOTH:
        if part in MODULES[group]:
            assert trainable(modules=(group,), parts=(part,)).parts[part]  # type: ignore[index]
        else:
            with pytest.raises(InvalidInput, match=f"{group} choose no layer of the {part}"):
                trainable(modules=(group,), parts=(part,))


def test_scales_ranks_and_starts() -> None:
    path = "down_blocks.0.resnets.0.conv1"
    ordinary = trainable(rank=8, alpha=2.0, conv_rank=3, modules=("convolutions",), parts=("unet",)).parts["unet"][path]
    stable = trainable(rank=16, alpha=2.0, rank_stabilised=True, parts=("unet",))
    start = [trainable(seed=9, start=kind, rank=8).parts["unet"] for kind in ("kaiming", "gaussian")]

    assert ordinary.down.shape == (3, 32, 3, 3)
    assert ordinary.scale == pytest.approx(2 / 3)
    assert {change.scale for change in stable.parts["unet"].values()} == {0.5}
    assert all(change.still().scale == 0.5 for change in stable.parts["unet"].values())
    kaiming, gaussian = (torch.cat([c.down.flatten() for c in layers.values()]) for layers in start)
    assert kaiming.abs().max() <= 32**-0.5
    assert gaussian.std().item() == pytest.approx(1 / 8, rel=0.05)


def test_dropout_follows_from_the_seed_also_when_a_layer_is_computed_again() -> None:
    networks, adapter = tiny.networks(), trainable(dropout=0.5, parts=("unet",), start="gaussian")
    with torch.no_grad():
        for change in adapter.parts["unet"].values():
            change.up += 0.3
    x, context = torch.randn(1, 4, 8, 8), torch.randn(1, 9, 32)

    def out(seed: int) -> torch.Tensor:
        adapter.reseed(seed)
        return networks.unet(x, torch.tensor([5.0]), context)

    with attached(networks, [Use(adapter)]):
        assert torch.equal(out(1), out(1))
        assert not torch.equal(out(1), out(2))
        adapter.eval()
        assert torch.equal(out(1), out(2))
        adapter.train()
        grads = []
        for compute in (out, lambda seed: checkpoint(out, seed, use_reentrant=False)):
            adapter.zero_grad()
            compute(3).sum().backward()  # type: ignore[operator, union-attr]
            grads.append([p.grad.clone() for p in adapter.parameters() if p.grad is not None])
    assert all(map(torch.equal, *grads))


def test_the_base_may_be_in_half_precision_while_the_factors_are_not() -> None:
    shared = tiny.networks()
    networks = Networks(
        shared.spec, shared.tokenizer, shared.text_encoder, copy.deepcopy(shared.unet).bfloat16(), shared.vae
    )
    adapter = TrainableAdapter(networks, LoRAConfig(rank=2, dora=True), generator=torch.Generator().manual_seed(0))
    with attached(networks, [Use(adapter)]):
        out = networks.unet(torch.ones(1, 4, 4, 4).bfloat16(), torch.tensor([5.0]), torch.ones(1, 7, 32).bfloat16())
        out.float().sum().backward()

    assert out.dtype == torch.bfloat16
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}
    assert all(p.grad is not None for name, p in adapter.named_parameters() if name.endswith("up"))


def test_configurations_that_say_something_twice() -> None:
    with pytest.raises(InvalidInput, match="twice: unet, unet"):
        LoRAConfig.parse({"parts": ["unet", "unet"]}, "The plan")
