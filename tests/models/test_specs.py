"""The table of models: every row fits together and can be built."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from impasto.errors import InvalidInput
from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import SPECS, ModelSpec
from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL


def networks(spec: ModelSpec) -> tuple[UNet, AutoencoderKL, CLIPTextEncoder]:
    with torch.device("meta"):
        return UNet(spec.unet), AutoencoderKL(spec.vae), CLIPTextEncoder(spec.text)


@pytest.mark.parametrize("name", SPECS)
def test_parts_fit_one_another(name: str) -> None:
    spec = SPECS[name]
    assert spec.name == name
    assert ModelSpec.parse(spec.plain(), "spec") == spec
    unet, vae, text = networks(spec)
    context = text(torch.zeros(1, spec.text.max_position_embeddings, dtype=torch.int64, device="meta"))
    x = torch.empty(1, spec.unet.in_channels, *spec.latent_shape[1:], device="meta")
    latents = unet(x, torch.empty(1, device="meta"), context)
    assert latents.shape == (1, *spec.latent_shape)
    assert vae.decode(latents).shape == (1, 3, spec.resolution, spec.resolution)


def test_clip_vocabulary_is_the_tokenizers() -> None:
    for spec in SPECS.values():
        if spec.tokenizer == "clip":
            assert len(CLIPTokenizer.packaged()) == spec.text.vocab_size


def test_inpainting_differs_by_its_input_only() -> None:
    plain, inpainting = SPECS["sd-1.4"].plain(), SPECS["sd-1.4-inpainting"].plain()
    assert inpainting["unet"].pop("in_channels") == 9
    assert plain["unet"].pop("in_channels") == 4
    assert inpainting.pop("name") != plain.pop("name")
    assert inpainting == plain


def test_glyph_fits_in_60_megabytes_of_half_precision() -> None:
    parameters = sum(p.numel() for network in networks(SPECS["glyph"]) for p in network.parameters())
    assert 2 * parameters < 60e6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"text": {"hidden_size": 1024, "num_attention_heads": 16}},
            "attends to width 768, the text encoder gives 1024",
        ),
        ({"unet": {"out_channels": 16}}, "gives 16 channels, the autoencoder takes 4"),
        ({"resolution": 500}, "resolution 500 must be a multiple of 64"),
        ({"prediction": "flow"}, "prediction: Input should be 'epsilon' or 'v_prediction'"),
    ],
)
def test_refuses(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ModelSpec.parse({**SPECS["sd-1.4"].plain(), **changed}, "spec")
