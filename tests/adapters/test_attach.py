"""Adapters on networks: what they change, and that they leave no trace."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch

from impasto.adapters.attach import Use, attach, attached, fuse
from impasto.adapters.lora import Adapter, LowRank
from impasto.adapters.lowrank import weight_change
from impasto.errors import InvalidInput, KeyMismatch
from impasto.weights.load import Networks
from tests.adapters import random
from tests.weights import tiny

KINDS = {
    "lora": random.adapter(),
    "dora": random.adapter(dora=True, modules=("attention", "convolutions", "projections")),
}


@pytest.fixture
def networks() -> Iterator[Networks]:
    """The tiny model, that has to be as it was when a test is over."""
    shared = tiny.networks()
    before = {part: dict(getattr(shared, part).named_parameters()) for part in random.BOTH}
    copies = {part: copy.deepcopy(getattr(shared, part).state_dict()) for part in random.BOTH}
    yield shared
    for part in random.BOTH:
        network = getattr(shared, part)
        assert all(tensor is before[part][name] for name, tensor in network.named_parameters())
        assert all(torch.equal(tensor, copies[part][name]) for name, tensor in network.state_dict().items())
        assert not any(module._forward_hooks for module in network.modules())


def by_weights(networks: Networks, *uses: Use) -> tuple[torch.Tensor, torch.Tensor]:
    """The outputs of networks whose weights are changed by plain arithmetic."""
    parts = {part: copy.deepcopy(getattr(networks, part)) for part in random.BOTH}
    changed = Networks(networks.spec, networks.tokenizer, vae=networks.vae, **parts)
    for use in uses:
        for part, layers in use.adapter.parts.items():
            for path, change in layers.items():
                own = getattr(networks, part).get_submodule(path).weight
                added = getattr(use, part) * weight_change(own, change)
                getattr(changed, part).get_submodule(path).weight.data += added
    return random.outputs(changed)


def mean_rows(weight: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(weight.flatten(1), dim=1)


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_and_fused_weights_do_what_the_formula_says(kind: str, networks: Networks) -> None:
    uses = [Use(KINDS[kind], 0.8, 0.5), Use(random.adapter(seed=5, rank=2), -0.3, 1.0)]
    wanted, base = by_weights(networks, *uses), random.outputs(networks)

    with attached(networks, uses):
        hooked = random.outputs(networks)
    together = fuse(networks, uses)
    fused = random.outputs(networks)
    together.unfuse()

    for found in (hooked, fused):
        for mine, formula, without in zip(found, wanted, base, strict=True):
            assert (mine - formula).norm() <= 1e-5 * formula.norm()
            assert (mine - without).norm() > 0.01 * without.norm()
    assert all(map(torch.equal, random.outputs(networks), base))


def test_dora_gives_rows_the_lengths_that_it_learned() -> None:
    change = KINDS["dora"].parts["unet"]["down_blocks.0.resnets.0.conv1"]
    weight = tiny.networks().unet.get_submodule("down_blocks.0.resnets.0.conv1").weight
    assert change.dora is not None

    torch.testing.assert_close(mean_rows(weight + weight_change(weight, change)), change.dora.flatten())


def test_dora_by_columns_of_early_lycoris_files(networks: Networks) -> None:
    path = "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2"
    conv = "down_blocks.0.resnets.0.conv1"
    layers = dict(random.adapter(seed=3).parts["unet"])
    for name in (path, conv):
        weight = networks.unet.get_submodule(name).weight
        lengths = torch.linalg.vector_norm(weight.transpose(0, 1).flatten(1), dim=1) * 1.3
        plain = layers[name]
        shape = (1, -1) + (1,) * (weight.ndim - 2)
        layers[name] = LowRank(plain.down, plain.up, plain.alpha, None, lengths.reshape(shape))
    use = Use(Adapter("columns", {"unet": {path: layers[path], conv: layers[conv]}}))

    with attached(networks, [use]):
        found = random.outputs(networks)

    torch.testing.assert_close(found[1], by_weights(networks, use)[1], rtol=1e-5, atol=1e-5)


def test_weights_change_while_attached_and_zero_is_off(networks: Networks) -> None:
    base = random.outputs(networks)
    with attached(networks, [Use(KINDS["dora"], 0.0, 0.0)]) as attachment:
        assert all(map(torch.equal, random.outputs(networks), base))
        attachment.weigh(0, unet=0.5)
        half = random.outputs(networks)
        with pytest.raises(InvalidInput, match="adapter 1"):
            attachment.weigh(1, unet=0.5)
        with pytest.raises(InvalidInput, match="vae"):
            attachment.weigh(0, vae=0.5)

    assert torch.equal(half[0], base[0])
    assert not torch.allclose(half[1], base[1])


def test_an_attachment_that_is_given_up_twice(networks: Networks) -> None:
    attachment = attach(networks, [Use(KINDS["lora"])])
    attachment.detach()
    attachment.detach()


def test_convolutions_and_linear_layers_of_one_shape_are_the_same(networks: Networks) -> None:
    layers = KINDS["lora"].parts["unet"]
    path = next(path for path in layers if path.endswith("proj_in"))  # a 1x1 convolution in this model
    other = next(path for path in layers if path.endswith("attn1.to_q"))
    flat, wide = layers[path].each(lambda t: t.flatten(1)), layers[other].each(lambda t: t[..., None, None])
    swapped = Adapter("swapped", {"unet": {**layers, path: flat, other: wide}})

    with attached(networks, [Use(swapped)]):
        found = random.outputs(networks)[1]
    with attached(networks, [Use(Adapter("as it was", {"unet": layers}))]):
        assert torch.equal(found, random.outputs(networks)[1])


def test_half_precision_networks_take_float32_adapters() -> None:
    shared = tiny.networks()
    unet = copy.deepcopy(shared.unet).bfloat16()
    networks = Networks(shared.spec, shared.tokenizer, shared.text_encoder, unet, shared.vae)
    x, context = torch.randn(1, 4, 4, 4).bfloat16(), torch.randn(1, 9, 32).bfloat16()
    for kind in KINDS.values():
        with attached(networks, [Use(kind)]):
            assert unet(x, torch.tensor([5.0]), context).isfinite().all()


@pytest.mark.parametrize("put_on", [lambda n, u: attach(n, u), lambda n, u: fuse(n, u)], ids=["attach", "fuse"])
def test_a_layer_without_a_home_is_an_error_and_changes_nothing(put_on: object, networks: Networks) -> None:
    good = KINDS["lora"].parts["unet"]
    path = next(iter(good))
    bad = {"no.such.layer": good[path], path: good[path].each(lambda t: torch.cat([t, t], dim=-1))}
    stray = Adapter("stray\x1b[2J", {"unet": {**good, **bad}, "text_encoder": {"encoder": good[path]}})

    with pytest.raises(KeyMismatch, match=r"no\.such\.layer") as caught:
        put_on(networks, [Use(KINDS["lora"]), Use(stray)])  # type: ignore[operator]

    assert caught.value.unknown == ["unet.no.such.layer"]
    assert caught.value.misshapen[0].startswith(f"unet.{path}: ")
    assert "\x1b" not in str(caught.value)
