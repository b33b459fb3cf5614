"""The text encoder by itself: shapes, dtypes, causality, config."""

from __future__ import annotations

import pytest
import torch

from impasto.errors import InvalidInput
from impasto.models.clip import CLIPTextConfig, CLIPTextEncoder

TINY = CLIPTextConfig(
    vocab_size=20,
    hidden_size=8,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=6,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_runs_in(dtype: torch.dtype) -> None:
    out = CLIPTextEncoder(TINY).to(dtype)(torch.zeros(3, 6, dtype=torch.int64))
    assert out.shape == (3, 6, 8)
    assert out.dtype == dtype
    assert out.isfinite().all()


@torch.inference_mode()
def test_later_tokens_do_not_change_earlier_ones() -> None:
    encoder = CLIPTextEncoder(TINY)
    a, b = encoder(torch.tensor([[1, 2, 3, 4], [1, 2, 5, 6]]))
    torch.testing.assert_close(a[:2], b[:2])
    assert not torch.allclose(a[2:], b[2:])


def test_takes_no_memory_on_the_meta_device() -> None:
    with torch.device("meta"):
        encoder = CLIPTextEncoder(CLIPTextConfig())
    assert all(p.is_meta for p in encoder.state_dict().values())
    assert sum(p.numel() for p in encoder.parameters()) == 123_060_480  # Stable Diffusion 1.4's


@pytest.mark.parametrize("skip", [-1, 3])
def test_refuses_to_skip_layers_it_does_not_have(skip: int) -> None:
    with pytest.raises(InvalidInput, match="Use 0 to 2"):
        CLIPTextEncoder(TINY)(torch.zeros(1, 2, dtype=torch.int64), skip=skip)


def test_refuses_more_tokens_than_positions() -> None:
    with pytest.raises(InvalidInput, match="7 tokens are too many: the text encoder takes 6"):
        CLIPTextEncoder(TINY)(torch.zeros(1, 7, dtype=torch.int64))


def test_refuses_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(InvalidInput, match="num_attention_heads 3 must divide hidden_size 8"):
        CLIPTextConfig.parse({**TINY.plain(), "num_attention_heads": 3}, "config.json")


@torch.inference_mode()
def test_ids_below_zero_stand_for_given_vectors() -> None:
    encoder = CLIPTextEncoder(TINY)
    words = encoder(torch.tensor([[1, 2, 3]]))
    table = encoder.embeddings.token_embedding.weight
    vectors = torch.stack([table[3], table[2]])
    assert torch.equal(encoder(torch.tensor([[1, -2, -1]]), vectors=vectors), words)
    assert torch.equal(encoder(torch.tensor([[1, 2, 3]]), vectors=vectors[:0]), words)
