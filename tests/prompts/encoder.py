"""A tiny random text encoder, as `Conditioner` wants it."""

from __future__ import annotations

import functools

import torch

from impasto.models.clip import CLIPTextConfig, CLIPTextEncoder
from impasto.models.tokenizer import CLIPTokenizer

LENGTH, WIDTH = 12, 16


@functools.cache
def tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    return CLIPTokenizer(CLIPTokenizer.packaged(1000).merges, pad_token=pad_token)


@functools.cache
def encoder() -> CLIPTextEncoder:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer()),
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CLIPTextEncoder(config).eval().requires_grad_(False)
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4)
    return network
