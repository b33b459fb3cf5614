"""The UNet against diffusers' UNet2DConditionModel, same weights in."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from impasto.models.unet import UNet, UNetConfig

TOLERANCE = 2e-5  # of the largest value in the reference's output

CONFIGS = {
    "as SD 1": UNetConfig(
        block_out_channels=(16, 32, 32, 48),
        heads=(2, 4, 8, 8),
        cross_attention_dim=12,
        norm_num_groups=8,
    ),
    "as SD 2": UNetConfig(
        block_out_channels=(16, 32, 48, 48),
        heads=(1, 2, 3, 3),
        cross_attention_dim=20,
        norm_num_groups=8,
        use_linear_projection=True,
    ),
    "inpainting": UNetConfig(
        in_channels=9,
        block_out_channels=(8, 16),
        attention=(True, True),
        heads=(2, 2),
        cross_attention_dim=8,
        norm_num_groups=4,
    ),
    "three layers, attention below only": UNetConfig(
        in_channels=16,
        out_channels=16,
        block_out_channels=(8, 16, 24),
        layers_per_block=3,
        attention=(False, True, True),
        heads=(3, 2, 4),
        cross_attention_dim=8,
        norm_num_groups=4,
    ),
    "one level, one layer": UNetConfig(
        block_out_channels=(8,),
        layers_per_block=1,
        attention=(True,),
        heads=(2,),
        cross_attention_dim=8,
        norm_num_groups=4,
    ),
}


def reference(config: UNetConfig) -> UNet2DConditionModel:
    kinds = ["CrossAttn" if attends else "" for attends in config.attention]
    return UNet2DConditionModel(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        attention_head_dim=config.heads,  # diffusers' name for the number of heads, kept for old configs' sake
        cross_attention_dim=config.cross_attention_dim,
        norm_num_groups=config.norm_num_groups,
        use_linear_projection=config.use_linear_projection,
    ).eval()


def relative_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def pair(request: pytest.FixtureRequest) -> tuple[UNet, UNet2DConditionModel]:
    torch.manual_seed(0)
    theirs = reference(request.param)
    ours = UNet(request.param).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def inputs(config: UNetConfig, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.randn(2, config.in_channels, *size)
    return x, torch.tensor([3.0, 871.5]), torch.randn(2, 7, config.cross_attention_dim)


@pytest.mark.parametrize("size", [(16, 8), (13, 10)], ids=["even", "odd"])
@torch.inference_mode()
def test_equals_diffusers(pair: tuple[UNet, UNet2DConditionModel], size: tuple[int, int]) -> None:
    ours, theirs = pair
    x, t, context = inputs(ours.config, size)
    assert relative_difference(ours(x, t, context), theirs(x, t, context).sample) < TOLERANCE


def test_gradients_equal_diffusers(pair: tuple[UNet, UNet2DConditionModel]) -> None:
    ours, theirs = pair
    x, t, context = inputs(ours.config, (8, 8))
    ours(x, t, context).square().mean().backward()
    theirs(x, t, context).sample.square().mean().backward()
    wanted = {name: p.grad for name, p in theirs.named_parameters()}
    largest = max(float(g.abs().max()) for g in wanted.values())
    for name, parameter in ours.named_parameters():
        assert float((parameter.grad - wanted[name]).abs().max()) < TOLERANCE * largest, name
