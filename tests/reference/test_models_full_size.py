"""Stable Diffusion 1.4 at its full size against the peers, random weights, tensors shared so that each is held once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import AutoencoderKL as DiffusersVAE
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import SPECS
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL

pytestmark = pytest.mark.slow

TOLERANCE = 2e-5  # of the largest value in the reference's output
SPEC = SPECS["sd-1.4"]


def sharing(build: Callable[[], nn.Module], owner: nn.Module) -> nn.Module:
    with torch.device("meta"):
        module = build()
    module.load_state_dict(owner.state_dict(), strict=True, assign=True)
    return module.eval()


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.inference_mode()
def test_unet() -> None:
    torch.manual_seed(0)
    theirs = UNet2DConditionModel(cross_attention_dim=768).eval()  # its other defaults are Stable Diffusion 1.4's
    ours = sharing(lambda: UNet(SPEC.unet), theirs)
    x, t, context = torch.randn(1, 4, 64, 64), torch.tensor([501.0]), torch.randn(1, 77, 768)
    assert relative_difference(ours(x, t, context), theirs(x, t, context).sample) < TOLERANCE


@torch.inference_mode()
def test_vae() -> None:
    torch.manual_seed(0)
    theirs = DiffusersVAE(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    ).eval()
    ours = sharing(lambda: AutoencoderKL(SPEC.vae), theirs)
    z, x = torch.randn(1, 4, 16, 16), torch.rand(1, 3, 128, 128) * 2 - 1
    assert relative_difference(ours.decode(z), theirs.decode(z).sample) < TOLERANCE
    assert relative_difference(ours.encode(x).mean, theirs.encode(x).latent_dist.mean) < TOLERANCE


@torch.inference_mode()
def test_text_encoder() -> None:
    torch.manual_seed(0)
    theirs = CLIPTextModel(CLIPTextConfig(**SPEC.text.plain())).eval()
    ours = sharing(lambda: CLIPTextEncoder(SPEC.text), theirs)
    ids = torch.randint(0, 49_408, (2, 77))
    assert relative_difference(ours(ids), theirs(ids).last_hidden_state) < TOLERANCE
