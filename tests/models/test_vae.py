"""The autoencoder by itself: shapes, dtypes, config, posterior."""

from __future__ import annotations

import math

import pytest
import torch

from impasto.errors import InvalidInput
from impasto.models.vae import AutoencoderKL, DiagonalGaussian, VAEConfig

TINY = VAEConfig(block_out_channels=(4, 8, 8), layers_per_block=1, norm_num_groups=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_runs_in(dtype: torch.dtype) -> None:
    vae = AutoencoderKL(TINY).to(dtype)
    x = torch.rand(2, 3, 16, 8, dtype=dtype)
    picture, posterior = vae(x, torch.randn(2, 4, 4, 2, dtype=dtype))
    assert picture.shape == x.shape
    assert picture.dtype == posterior.mean.dtype == dtype
    assert picture.isfinite().all()


def test_factor_follows_the_levels() -> None:
    assert [VAEConfig(block_out_channels=(32,) * n).factor for n in (1, 4, 5)] == [1, 8, 16]


def test_takes_no_memory_on_the_meta_device() -> None:
    with torch.device("meta"):
        vae = AutoencoderKL(VAEConfig())
    assert all(p.is_meta for p in vae.state_dict().values())
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863  # Stable Diffusion 1.4's


def test_refuses_groups_that_do_not_divide_the_channels() -> None:
    with pytest.raises(InvalidInput, match=r"norm_num_groups 32 must divide block_out_channels, not so for \[48\]"):
        VAEConfig.parse({"block_out_channels": [64, 48]}, "config.json")


def test_posterior_of_a_standard_normal_diverges_by_nothing() -> None:
    zeros = torch.zeros(2, 4, 3, 3)
    assert torch.equal(DiagonalGaussian(zeros, zeros).kl(), torch.zeros(2))


def test_posterior_sample_is_mean_plus_std_times_noise() -> None:
    posterior = DiagonalGaussian(torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 1, 1), 2 * math.log(0.5)))
    assert posterior.sample(torch.full((1, 1, 1, 1), 2.0)).item() == pytest.approx(4.0)
    assert posterior.mode().item() == 3.0
