"""The text encoder against transformers' CLIPTextModel, same weights in."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPTextConfig as TransformersConfig
from transformers import CLIPTextModel

from impasto.models.clip import CLIPTextConfig, CLIPTextEncoder

TOLERANCE = 2e-5  # of the largest value in the reference's output

CONFIGS = {
    act: CLIPTextConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=heads,
        max_position_embeddings=16,
        hidden_act=act,
    )
    for act, heads in (("quick_gelu", 2), ("gelu", 3))
}


def reference(config: CLIPTextConfig) -> CLIPTextModel:
    return CLIPTextModel(TransformersConfig(**config.plain(), bos_token_id=48, eos_token_id=49)).eval()


def relative_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("length", [16, 5])
@torch.inference_mode()
def test_equals_transformers(config: CLIPTextConfig, length: int) -> None:
    torch.manual_seed(0)
    theirs = reference(config)
    for parameter in theirs.parameters():  # beyond the small initial values, so that the activations bend
        parameter.copy_(torch.randn_like(parameter) * 0.4)
    ours = CLIPTextEncoder(config).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    ids = torch.randint(0, 50, (2, length))
    want = theirs(ids, output_hidden_states=True)
    assert relative_difference(ours(ids), want.last_hidden_state) < TOLERANCE
    earlier = theirs.final_layer_norm(want.hidden_states[-2])
    assert relative_difference(ours(ids, skip=1), earlier) < TOLERANCE
