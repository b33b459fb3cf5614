"""Tiny random models of Stable Diffusion's shape, for tests that need a whole model."""

from __future__ import annotations

import functools

import torch

from impasto.models.clip import CLIPTextConfig, CLIPTextEncoder
from impasto.models.specs import ModelSpec
from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.unet import UNet, UNetConfig
from impasto.models.vae import AutoencoderKL, VAEConfig
from impasto.weights.load import Networks


@functools.cache
def networks(prediction: str = "epsilon", merges: int = 100, width: int = 1) -> Networks:
    """Return a random model of 64 px; `width` scales its channels."""
    tokenizer = CLIPTokenizer.packaged(merges)
    spec = ModelSpec.model_validate(
        {
            "name": "tiny",
            "unet": UNetConfig(
                block_out_channels=(32 * width, 64 * width),
                layers_per_block=1,
                attention=(True, False),
                heads=(2, 4),
                cross_attention_dim=32 * width,
                norm_num_groups=8,
            ),
            "vae": VAEConfig(block_out_channels=(16 * width, 32 * width), layers_per_block=1, norm_num_groups=8),
            "text": CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32 * width,
                intermediate_size=64 * width,
                num_hidden_layers=2,
                num_attention_heads=4,
            ),
            "tokenizer": "merges.txt",
            "prediction": prediction,
            "resolution": 64,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = (CLIPTextEncoder(spec.text), UNet(spec.unet), AutoencoderKL(spec.vae))
    text_encoder, unet, vae = (part.eval().requires_grad_(False) for part in parts)
    return Networks(spec, tokenizer, text_encoder, unet, vae)


@functools.cache
def stable_diffusion(family: str = "sd-1", in_channels: int = 4, prediction: str = "epsilon") -> Networks:
    """Return a random model that is told from its shapes alone, with the habits of its family (`ldm.FAMILIES`)."""
    second = family == "sd-2"
    tokenizer = CLIPTokenizer(CLIPTokenizer.packaged(100).merges, pad_token="!" if second else "<|endoftext|>")
    spec = ModelSpec.model_validate(
        {
            "name": "tiny",
            "unet": UNetConfig(
                in_channels=in_channels,
                block_out_channels=(64, 128),
                layers_per_block=1,
                attention=(True, False),
                heads=(1, 2) if second else (8, 8),
                cross_attention_dim=64,
                use_linear_projection=second,
            ),
            "vae": VAEConfig(block_out_channels=(32, 64), layers_per_block=1),
            "text": CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=1,
                hidden_act="gelu" if second else "quick_gelu",
            ),
            "tokenizer": "merges.txt",
            "prediction": prediction,
            "resolution": 768 if second and prediction == "v_prediction" else 512,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        parts = (CLIPTextEncoder(spec.text), UNet(spec.unet), AutoencoderKL(spec.vae))
    text_encoder, unet, vae = (part.eval().requires_grad_(False) for part in parts)
    return Networks(spec, tokenizer, text_encoder, unet, vae)
