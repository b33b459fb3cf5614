"""Half precision where there are no instructions for it: the same function, rounded once, a strip at a time."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from impasto.models import precision
from impasto.models.precision import WideConv2d, WideLinear, attend, native, widened
from impasto.pipeline.seamless import Seamless
from tests.weights import tiny


@pytest.fixture(autouse=True)
def _without_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "native", lambda dtype, _: dtype == torch.float32)


def close(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether `got` is `wanted` (float32), rounded once."""
    return got.dtype == torch.bfloat16 and torch.equal(got, wanted.bfloat16())


def test_a_gpu_needs_no_widening() -> None:
    assert native(torch.bfloat16, "cuda")
    assert native(torch.float32, "cpu")


def test_layers_are_the_same_function() -> None:
    layers: list[tuple[nn.Module, torch.Tensor]] = [
        (nn.Linear(5, 7), torch.randn(2, 3, 5)),
        (nn.Linear(5, 7, bias=False), torch.randn(3, 5)),
        (nn.Conv2d(4, 6, 3, padding=1), torch.randn(2, 4, 9, 8)),
        (nn.Conv2d(4, 6, 3, stride=2), torch.randn(2, 4, 9, 8)),
        (nn.Conv2d(4, 6, 1), torch.randn(2, 4, 9, 8)),
    ]
    for layer, x in layers:
        half = widened(copy.deepcopy(layer).bfloat16())
        assert type(half) in (WideLinear, WideConv2d)
        wanted = copy.deepcopy(layer).bfloat16().float()(x.bfloat16().float())
        assert close(half(x.bfloat16()), wanted)
        assert half.state_dict().keys() == layer.state_dict().keys()
        assert type(widened(layer)) in (nn.Linear, nn.Conv2d)  # float32 stays as it is


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("rows", [1, 2, 4, 100])
def test_strips_are_the_whole(size: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Conv2d(3, 4, size, padding=size // 2).bfloat16()
    x = torch.randn(2, 3, 11, 6).bfloat16()
    wanted = copy.deepcopy(layer).float()(x.float())
    monkeypatch.setattr(precision, "STRIP", rows * 2 * 3 * 6 * 4)
    got = widened(layer)(x)
    assert (got.float() - wanted).abs().max() <= 0.01  # sums of strips are in another order
    monkeypatch.setattr(precision, "STRIP", 10**9)
    assert close(layer(x), wanted)


def test_a_picture_whose_ends_meet_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = widened(nn.Conv2d(3, 4, 3, padding=1).bfloat16())
    x = torch.randn(1, 3, 8, 8).bfloat16()
    monkeypatch.setattr(precision, "STRIP", 100)
    with Seamless("xy"):
        whole = layer(x)
        moved = layer(x.roll((3, 2), (2, 3)))
    assert torch.allclose(whole.roll((3, 2), (2, 3)).float(), moved.float(), atol=0.01)
    assert not torch.allclose(whole.float(), layer(x).float(), atol=0.01)


def test_attention_is_the_same_function() -> None:
    q, k, v = (torch.randn(2, 4, 6, 8).bfloat16() for _ in range(3))
    for causal in (False, True):
        wanted = nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=causal)
        assert close(attend(q, k, v, causal=causal), wanted)


def test_whole_networks_stay_near_float32() -> None:
    networks = tiny.networks()
    x, t, words = torch.randn(2, 4, 8, 8), torch.tensor([5.0, 900.0]), torch.randn(2, 7, 32)
    wanted = networks.unet(x, t, words)
    half = widened(copy.deepcopy(networks.unet).bfloat16())
    got = half(x.bfloat16(), t, words.bfloat16())
    assert got.dtype == torch.bfloat16
    assert (got - wanted).norm() < 0.02 * wanted.norm()
    z = torch.randn(1, 4, 8, 8)
    pixels = widened(copy.deepcopy(networks.vae).bfloat16()).decode(z.bfloat16())
    assert (pixels - networks.vae.decode(z)).norm() < 0.02 * networks.vae.decode(z).norm()
