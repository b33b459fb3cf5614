"""The CLIP text encoder, which turns token ids into the sequence that the UNet attends to.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (openai/CLIP).
Config fields and parameter names are those of transformers' `CLIPTextModel`, without the prefix `text_model.`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads
from typing_extensions import Self

from impasto.errors import InvalidInput
from impasto.models.precision import attend
from impasto.schema import Frozen


def quick_gelu(x: Tensor) -> Tensor:
    """Return OpenAI's approximation of the GELU, x * sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}


class CLIPTextConfig(Frozen):
    """Shape of a text encoder; the defaults are those of Stable Diffusion 1.x."""

    vocab_size: int = Field(default=49_408, ge=1, description="tokens, the special ones among them")
    hidden_size: int = Field(default=768, ge=1, description="width, which is the UNet's cross_attention_dim")
    intermediate_size: int = Field(default=3072, ge=1, description="width inside the feed-forward layers")
    num_hidden_layers: int = Field(default=12, ge=1, description="transformer layers")
    num_attention_heads: int = Field(default=12, ge=1, description="heads per layer; divides hidden_size")
    max_position_embeddings: int = Field(default=77, ge=2, description="longest sequence, in tokens")
    hidden_act: Literal["quick_gelu", "gelu"] = Field(default="quick_gelu", description="gelu in Stable Diffusion 2.x")
    layer_norm_eps: float = Field(default=1e-5, gt=0, description="epsilon of every norm")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} must divide hidden_size {self.hidden_size}"
            )
        return self


class Embeddings(nn.Module):
    """A vector for each token plus a vector for its place."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids: Tensor, vectors: Tensor | None = None) -> Tensor:
        """Map (B, T) to (B, T, D); an id k below 0 stands for `vectors[-1 - k]`, of (N, D)."""
        tokens = self.token_embedding(ids if vectors is None else ids.clamp(min=0))
        if vectors is not None and (ids < 0).any():
            others = vectors.to(tokens)[(-1 - ids).clamp(min=0)]  # (B, T, D)
            tokens = torch.where((ids < 0)[..., None], others, tokens)
        return torch.add(tokens, self.position_embedding.weight[: ids.shape[1]])


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a token sees itself and those before it."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to the same shape."""
        q, k, v = (
            projected.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, D / heads)
            for projected in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        attended = attend(q, k, v, causal=True)
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to the same shape."""
        out: Tensor = self.fc2(self.activation(self.fc1(x)))
        return out


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each normed first and added to its input."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.self_attn = CausalAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to the same shape."""
        x = x + self.self_attn(self.layer_norm1(x))
        return torch.add(x, self.mlp(self.layer_norm2(x)))


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor, skip: int) -> Tensor:
        """Map (B, T, D) to the same shape, leaving out the last `skip` layers."""
        for layer in self.layers[: len(self.layers) - skip]:
            x = layer(x)
        return x


class CLIPTextEncoder(nn.Module):
    """Token ids to one vector a token."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, ids: Tensor, skip: int = 0, vectors: Tensor | None = None) -> Tensor:
        """Return the encoded tokens, after the final norm.

        Args:
            ids: (B, T) int64, T at most `config.max_position_embeddings`.
            skip: how many of the last layers to leave out; "clip skip 2" of other programs is 1 here.
            vectors: (N, `config.hidden_size`) of embeddings (textual inversion). An id k below 0 stands for
                `vectors[-1 - k]` instead of a token of the vocabulary.

        Returns:
            (B, T, `config.hidden_size`).

        Raises:
            InvalidInput: `skip` is not between 0 and the number of layers, or the sequence is too long.
        """
        layers, longest = self.config.num_hidden_layers, self.config.max_position_embeddings
        if not 0 <= skip <= layers:
            raise InvalidInput(f"skip {skip} is not possible: the text encoder has {layers} layers. Use 0 to {layers}.")
        if ids.shape[1] > longest:
            raise InvalidInput(f"{ids.shape[1]} tokens are too many: the text encoder takes {longest} at a time.")
        out: Tensor = self.final_layer_norm(self.encoder(self.embeddings(ids, vectors), skip))
        return out
