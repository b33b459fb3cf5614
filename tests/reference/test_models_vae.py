"""The autoencoder against diffusers' AutoencoderKL, same weights in."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL as DiffusersVAE

from impasto.models.vae import AutoencoderKL, VAEConfig

TOLERANCE = 2e-5  # of the largest value in the reference's output

CONFIGS = {
    "factor 1": VAEConfig(block_out_channels=(8,), norm_num_groups=4),
    "factor 8, as SD": VAEConfig(block_out_channels=(8, 16, 24, 24), norm_num_groups=8),
    "factor 16, 16 channels": VAEConfig(
        block_out_channels=(8, 16, 16, 24, 24), layers_per_block=1, latent_channels=16, norm_num_groups=8
    ),
    "RGBA in, three layers": VAEConfig(
        in_channels=4, block_out_channels=(8, 16), layers_per_block=3, latent_channels=3, norm_num_groups=4
    ),
}


def reference(config: VAEConfig) -> DiffusersVAE:
    levels = len(config.block_out_channels)
    return DiffusersVAE(
        **{name: value for name, value in config if name != "latent_channels"},
        latent_channels=config.latent_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    ).eval()


def relative_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def pair(request: pytest.FixtureRequest) -> tuple[AutoencoderKL, DiffusersVAE]:
    torch.manual_seed(0)
    theirs = reference(request.param)
    ours = AutoencoderKL(request.param).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


@torch.inference_mode()
def test_encode_equals_diffusers(pair: tuple[AutoencoderKL, DiffusersVAE]) -> None:
    ours, theirs = pair
    x = torch.rand(2, ours.config.in_channels, 48, 32) * 2 - 1
    got, want = ours.encode(x), theirs.encode(x).latent_dist
    assert relative_difference(got.mean, want.mean) < TOLERANCE
    assert relative_difference(got.logvar, want.logvar) < TOLERANCE
    assert relative_difference(got.kl(), want.kl()) < TOLERANCE


@torch.inference_mode()
def test_decode_equals_diffusers(pair: tuple[AutoencoderKL, DiffusersVAE]) -> None:
    ours, theirs = pair
    z = torch.randn(2, ours.config.latent_channels, 6, 4)
    assert relative_difference(ours.decode(z), theirs.decode(z).sample) < TOLERANCE


def test_gradients_equal_diffusers(pair: tuple[AutoencoderKL, DiffusersVAE]) -> None:
    ours, theirs = pair
    x = torch.rand(1, ours.config.in_channels, 16, 16) * 2 - 1
    ours.decode(ours.encode(x).mode()).square().mean().backward()
    theirs.decode(theirs.encode(x).latent_dist.mode()).sample.square().mean().backward()
    wanted = {name: p.grad for name, p in theirs.named_parameters()}
    largest = max(float(g.abs().max()) for g in wanted.values())
    for name, parameter in ours.named_parameters():
        assert float((parameter.grad - wanted[name]).abs().max()) < TOLERANCE * largest, name


@torch.inference_mode()
def test_clamps_the_log_variance_as_diffusers() -> None:
    config = CONFIGS["factor 1"]
    ours, theirs = AutoencoderKL(config), reference(config)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    for vae in (ours, theirs):
        vae.quant_conv.weight.mul_(1e4)
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(ours.encode(x).logvar, theirs.encode(x).latent_dist.logvar)
    assert ours.encode(x).logvar.max() == 20.0
    assert ours.encode(x).logvar.min() == -30.0
