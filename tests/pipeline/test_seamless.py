"""Convolutions that see the other end."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from impasto.pipeline.seamless import Seamless
from tests.weights import tiny


@pytest.mark.parametrize(("axes", "shifts"), [("xy", (3, 5)), ("x", (0, 5)), ("y", (3, 0))])
@torch.inference_mode()
def test_a_rolled_picture_gives_a_rolled_result(axes: str, shifts: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, padding=1)
    x = torch.rand(1, 2, 8, 8)
    with Seamless(axes):
        out, rolled = conv(x), conv(x.roll(shifts, (2, 3)))
    torch.testing.assert_close(out.roll(shifts, (2, 3)), rolled)
    assert not torch.allclose(out, conv(x))


@torch.inference_mode()
def test_it_is_torchs_circular_padding() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, padding=1)
    circular = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")
    circular.load_state_dict(conv.state_dict())
    x = torch.rand(1, 2, 8, 8)
    with Seamless("xy"):
        torch.testing.assert_close(conv(x), circular(x))


@torch.inference_mode()
def test_the_network_is_as_before_and_a_whole_unet_rolls() -> None:
    unet = tiny.networks().unet
    x, t, context = torch.randn(1, 4, 16, 16), torch.tensor([500.0]), torch.randn(1, 4, 32)
    before = unet(x, t, context)
    with Seamless("x"):
        out, rolled = unet(x, t, context), unet(x.roll(4, 3), t, context)
    torch.testing.assert_close(out.roll(4, 3), rolled, atol=1e-4, rtol=1e-4)
    assert torch.equal(unet(x, t, context), before)
    with Seamless(None):
        assert torch.equal(unet(x, t, context), before)
