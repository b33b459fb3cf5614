"""The UNet by itself: shapes, dtypes, config."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from impasto.errors import InvalidInput
from impasto.models.unet import UNet, UNetConfig, timestep_features

TINY = UNetConfig(
    in_channels=5,
    out_channels=3,
    block_out_channels=(8, 16),
    layers_per_block=1,
    attention=(True, False),
    heads=(2, 4),
    cross_attention_dim=6,
    norm_num_groups=4,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_runs_in(dtype: torch.dtype) -> None:
    out = UNet(TINY).to(dtype)(
        torch.randn(2, 5, 8, 6, dtype=dtype), torch.tensor([1.0, 2.5]), torch.randn(2, 3, 6, dtype=dtype)
    )
    assert out.shape == (2, 3, 8, 6)
    assert out.dtype == dtype
    assert out.isfinite().all()


def test_takes_no_memory_on_the_meta_device() -> None:
    with torch.device("meta"):
        unet = UNet(UNetConfig())
    assert all(p.is_meta for p in unet.state_dict().values())
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964  # Stable Diffusion 1.4's


@torch.inference_mode()
def test_channels_last_gives_the_same() -> None:
    torch.manual_seed(0)
    unet = UNet(TINY).eval()
    x, t, context = torch.randn(2, 5, 8, 8), torch.tensor([1.0, 900.0]), torch.randn(2, 3, 6)
    wanted = unet(x, t, context)
    got = unet.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), t, context)
    torch.testing.assert_close(got, wanted)


def test_timestep_zero_is_all_cosines() -> None:
    assert timestep_features(torch.zeros(1), 4).tolist() == [[1.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heads": [2]}, "equally long"),
        ({"heads": [3, 4]}, "heads 3 of level 0 must divide its 8 channels"),
        ({"heads": [2, 3]}, "heads 3 of level 1 must divide its 16 channels"),
        ({"norm_num_groups": 16}, "norm_num_groups 16 must divide block_out_channels"),
        ({"attention_head_dim": 8}, "attention_head_dim: Extra inputs are not permitted"),
    ],
)
def test_refuses(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        UNetConfig.parse({**TINY.plain(), **changed}, "config.json")
