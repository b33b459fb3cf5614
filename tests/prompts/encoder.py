"""A tiny random text encoder, as `Conditioner` wants it."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from impasto.models.clip import CLIPTextConfig, CLIPTextEncoder
from impasto.models.tokenizer import CLIPTokenizer
from impasto.prompts.conditioning import Encode

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


def encode_with(network: CLIPTextEncoder) -> Encode:
    """Return `network` as a function that takes the vectors of embeddings too."""

    def encode(ids: Tensor, skip: int, vectors: Tensor | None) -> Tensor:
        tokens = network.embeddings.token_embedding(ids.clamp(min=0))
        if vectors is not None:
            tokens = torch.where((ids < 0)[..., None], vectors[(-1 - ids).clamp(min=0)], tokens)
        x = tokens + network.embeddings.position_embedding.weight[: ids.shape[1]]
        out: Tensor = network.final_layer_norm(network.encoder(x, skip))
        return out

    return encode
