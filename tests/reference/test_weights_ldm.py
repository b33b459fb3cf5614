"""The single-file layout against diffusers' own converters, both at a tiny size and for every key of the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers as peer
import pytest
import torch
import transformers
from diffusers.loaders import single_file_utils as converters

from impasto.models.clip import CLIPTextConfig, CLIPTextEncoder
from impasto.models.specs import SPECS, ModelSpec
from impasto.models.unet import UNet, UNetConfig
from impasto.models.vae import AutoencoderKL
from impasto.weights.detect import Choices
from impasto.weights.layouts import diffusers as folder
from impasto.weights.layouts import ldm
from impasto.weights.load import load_model
from tests.weights import tiny

Tensors = dict[str, torch.Tensor]

SD_1 = SPECS["sd-1.4"]
SD_2 = ModelSpec.model_validate(
    {
        **dict(SD_1),
        "name": "sd-2.1",
        "unet": UNetConfig(heads=(5, 10, 20, 20), cross_attention_dim=1024, use_linear_projection=True),
        "text": CLIPTextConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=23,
            num_attention_heads=16,
            hidden_act="gelu",
        ),
        "prediction": "v_prediction",
        "resolution": 768,
    }
)


def meta(spec: ModelSpec) -> dict[str, Tensors]:
    """Return our networks' tensors without memory."""
    with torch.device("meta"):
        networks = {"text_encoder": CLIPTextEncoder(spec.text), "unet": UNet(spec.unet), "vae": AutoencoderKL(spec.vae)}
    return {part: module.state_dict() for part, module in networks.items()}


def converted(spec: ModelSpec, file: Tensors, part: str) -> Tensors:
    """Return what diffusers makes of the tensors of a file for one component."""
    if part == "unet":
        return converters.convert_ldm_unet_checkpoint(dict(file), folder.UNET.write(spec.unet.plain()))
    if part == "vae":
        return converters.convert_ldm_vae_checkpoint(dict(file), folder.VAE.write(spec.vae.plain()))
    if ldm.family_of(spec) is ldm.FAMILIES["sd-1"]:
        return converters.convert_ldm_clip_checkpoint(dict(file))
    with torch.device("meta"):
        config = transformers.CLIPTextConfig(**folder.TEXT_ENCODER.write(spec.text.plain()))
        text_model = transformers.CLIPTextModel(config)
    return converters.convert_open_clip_checkpoint(text_model, dict(file))


def ours(tensors: Tensors) -> Tensors:
    return {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("kind", [("sd-1", 4), ("sd-1", 9), ("sd-2", 4)], ids=str)
def test_diffusers_reads_the_same_model(kind: tuple[str, int]) -> None:
    networks = tiny.stable_diffusion(*kind)
    parts: dict[str, Tensors] = {name: getattr(networks, name).state_dict() for name in folder.COMPONENTS}
    file = ldm.tensors(networks.spec, parts)
    for part, wanted in parts.items():
        got = ours(converted(networks.spec, file, part))
        got = {name: tensor for name, tensor in got.items() if not _unread(name, networks.spec)}
        assert got.keys() == wanted.keys()
        assert all(torch.equal(got[name], wanted[name]) for name in wanted)


def _unread(name: str, spec: ModelSpec) -> bool:
    """Return whether `name` is of the layer that Stable Diffusion 2 leaves out; diffusers does so by its number, 23."""
    return name.startswith(f"encoder.layers.{spec.text.num_hidden_layers}.")


@pytest.mark.parametrize(
    "spec", [SD_1, SPECS["sd-1.4-inpainting"], SD_2], ids=["sd-1.4", "sd-1.4-inpainting", "sd-2.1"]
)
def test_every_key_of_the_released_models(spec: ModelSpec) -> None:
    parts = meta(spec)
    file = ldm.tensors(spec, parts)
    for part, wanted in parts.items():
        got = {name: tuple(t.shape) for name, t in ours(converted(spec, file, part)).items()}
        assert got == {name: tuple(t.shape) for name, t in wanted.items()}


@pytest.mark.parametrize(("spec", "count"), [(SD_1, 686 + 248 + 196), (SD_2, 686 + 248 + 292)], ids=["1.4", "2.1"])
def test_as_many_tensors_as_the_released_files(spec: ModelSpec, count: int) -> None:
    # 686 in a UNet, 248 in an autoencoder, 196 in OpenAI's text encoder; 12 a layer and 4 in OpenCLIP's.
    assert len(ldm.tensors(spec, meta(spec))) == count


@pytest.mark.parametrize("spec", [SD_1, SD_2], ids=["1.4", "2.1"])
def test_diffusers_knows_what_is_written(spec: ModelSpec) -> None:
    kinds: dict[str, Any] = {"sd-1": ("v1",), "sd-2": ("v2",)}
    family = next(name for name, family in ldm.FAMILIES.items() if family is ldm.family_of(spec))
    assert converters.infer_diffusers_model_type(ldm.tensors(spec, meta(spec))) in kinds[family]
    assert peer.__version__


@pytest.mark.parametrize(
    "spec", [SD_1, SPECS["sd-1.4-inpainting"], SD_2], ids=["sd-1.4", "sd-1.4-inpainting", "sd-2.1"]
)
def test_a_file_of_full_size_is_what_it_is(spec: ModelSpec, tmp_path: Path) -> None:
    """A checkpoint with every tensor in its full shape, in a file of half a megabyte: each repeats one number."""
    file = {name: torch.zeros(1).half().expand(t.shape) for name, t in ldm.tensors(spec, meta(spec)).items()}
    averages = {ldm.ema_name(name): tensor for name, tensor in file.items() if name.startswith(ldm.UNET)}
    torch.save({"state_dict": {**file, **averages}, "global_step": 470_000}, tmp_path / "model.ckpt")
    loaded = load_model(tmp_path / "model.ckpt", choices=Choices(prediction=spec.prediction))
    assert loaded.spec == spec.model_copy(update={"name": "model"})
    assert loaded.unet.conv_in.weight.shape == (320, spec.unet.in_channels, 3, 3)
    assert loaded.checkpoint.extras.keys() >= averages.keys()
    assert loaded.tokenizer.pad_id == (0 if spec is SD_2 else loaded.tokenizer.eos)
