"""The diffusers folder, against diffusers and transformers themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers as peer
import pytest
import torch
import transformers

from impasto.errors import InvalidInput, NotFound, UnsupportedConfig
from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import SPECS
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL
from impasto.weights import files
from impasto.weights.checkpoint import About, Settings
from impasto.weights.layouts import diffusers as layout
from impasto.weights.layouts.tables import ConfigTable
from impasto.weights.load import load_folder, save_folder
from tests.weights import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_folder(tmp_path / "tiny", tiny.networks(), About(name="tiny"))
    return tmp_path / "tiny"


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", SPECS)
def test_every_spec_survives_its_configs(name: str) -> None:
    spec = SPECS[name]
    assert layout.UNET.read(layout.UNET.write(spec.unet.plain()), "") == dict(spec.unet)
    assert layout.VAE.read(layout.VAE.write(spec.vae.plain()), "") == dict(spec.vae)
    assert layout.TEXT_ENCODER.read(layout.TEXT_ENCODER.write(spec.text.plain()), "") == dict(spec.text)
    schedule = layout.SCHEDULER.read(layout.SCHEDULER.write(spec.plain()), "")
    assert schedule == {key: getattr(spec, key) for key in ("prediction", "train_timesteps", "beta_start", "beta_end")}


@pytest.mark.parametrize("name", SPECS)
def test_peers_build_the_same_networks_from_the_configs(name: str) -> None:
    spec = SPECS[name]
    with torch.device("meta"):
        unet = peer.UNet2DConditionModel.from_config(layout.UNET.write(spec.unet.plain()))
        vae = peer.AutoencoderKL.from_config(layout.VAE.write(spec.vae.plain()))
        text = transformers.CLIPTextModel(transformers.CLIPTextConfig(**layout.TEXT_ENCODER.write(spec.text.plain())))
        built = ((UNet(spec.unet), unet), (AutoencoderKL(spec.vae), vae), (CLIPTextEncoder(spec.text), text))
    for ours, theirs in built:
        wanted = {key.removeprefix("text_model."): value.shape for key, value in theirs.state_dict().items()}
        assert {key: value.shape for key, value in ours.state_dict().items()} == wanted


@pytest.mark.parametrize(("cls", "table"), [(peer.UNet2DConditionModel, layout.UNET), (peer.AutoencoderKL, layout.VAE)])
def test_the_tables_know_every_key_of_the_peer_and_its_defaults(cls: Any, table: ConfigTable) -> None:
    with torch.device("meta"):
        config = json.loads(cls().to_json_string())
    assert table.read(config, "config.json") == table.read({}, "config.json")


def test_text_encoder_configs_of_the_peer_are_read() -> None:
    config = transformers.CLIPTextModel(transformers.CLIPTextConfig(num_hidden_layers=1)).config
    values = layout.TEXT_ENCODER.read(json.loads(config.to_json_string()), "config.json")
    assert values["num_hidden_layers"] == 1
    assert values["hidden_size"] == 512


SCHEDULERS = [
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "KDPM2DiscreteScheduler",
    "UniPCMultistepScheduler",
    "DEISMultistepScheduler",
]


@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # some schedulers with numpy 2
@pytest.mark.parametrize("name", SCHEDULERS)
def test_scheduler_configs_of_the_peer_are_read(name: str) -> None:
    scheduler = getattr(peer, name)(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    values = layout.SCHEDULER.read(json.loads(scheduler.to_json_string()), "scheduler_config.json")
    assert values == {"prediction": "epsilon", "train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012}


def test_everything_comes_back(tmp_path: Path) -> None:
    about = About(name="Tiny Ⅱ", settings=Settings(steps=7, guidance=3, sampler="euler", schedule="normal"))
    for prediction in ("epsilon", "v_prediction"):
        networks = tiny.networks(prediction)
        save_folder(tmp_path / prediction, networks, about)
        checkpoint = layout.read(tmp_path / prediction)
        assert checkpoint.spec == networks.spec.model_copy(update={"name": "Tiny Ⅱ"})
        assert checkpoint.about == about
        assert checkpoint.tokenizer.merges == networks.tokenizer.merges


def test_the_peer_writes_and_we_read_the_same_model(folder: Path, tmp_path: Path) -> None:
    pipe = peer.StableDiffusionPipeline.from_pretrained(folder)
    pipe.save_pretrained(tmp_path / "theirs")
    ours, theirs = load_folder(folder), load_folder(tmp_path / "theirs")
    assert "text_model.final_layer_norm.weight" in files.load(folder / "text_encoder" / "model.safetensors")
    assert theirs.digest == ours.digest
    assert theirs.tokenizer("a red fox") == ours.tokenizer("a red fox")


def test_a_folder_without_impasto_json_is_called_after_itself(folder: Path) -> None:
    (folder / "impasto.json").unlink()
    checkpoint = layout.read(folder)
    assert checkpoint.about == About(name="tiny")
    assert checkpoint.spec.resolution == 64


def rewrite(path: Path, rename: Callable[[str], str], extra: dict[str, torch.Tensor] | None = None) -> None:
    tensors = {rename(name): tensor.clone() for name, tensor in files.load(path).items()}
    files.save(path, {**tensors, **(extra or {})})


def test_old_names_and_buffers_are_read(folder: Path) -> None:
    before = load_folder(folder).digest
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(name: str) -> str:
        for now, then in old.items():
            name = name.replace(f"attentions.0.{now}", f"attentions.0.{then}")
        return name

    rewrite(folder / "vae" / "diffusion_pytorch_model.safetensors", rename)
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    rewrite(folder / "text_encoder" / "model.safetensors", str, positions)
    assert "encoder.mid_block.attentions.0.query.weight" in files.load(
        folder / "vae" / "diffusion_pytorch_model.safetensors"
    )
    assert load_folder(folder).digest == before
    rewrite(folder / "text_encoder" / "model.safetensors", lambda name: name.removeprefix("text_model."))
    assert load_folder(folder).digest == before


def test_a_safety_checker_is_read_over(folder: Path) -> None:
    edit(
        folder / "model_index.json",
        lambda index: index.update(safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"]),
    )
    layout.read(folder)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model_index.json", {"_class_name": "FluxPipeline"}, "FluxPipeline"),
        ("unet/config.json", {"class_embed_type": "timestep"}, "class_embed_type"),
        ("unet/config.json", {"down_block_types": ["AttnDownBlock2D", "DownBlock2D"]}, "AttnDownBlock2D"),
        ("unet/config.json", {"up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]}, "up_block_types.*contradicts"),
        ("unet/config.json", {"attention_head_dim": [2, 4, 8]}, "attention_head_dim"),
        ("unet/config.json", {"sparkle": 1}, "sparkle: unknown"),
        ("vae/config.json", {"shift_factor": 0.1}, "shift_factor"),
        ("vae/config.json", {"down_block_types": ["DownEncoderBlock2D"]}, "down_block_types"),
        ("text_encoder/config.json", {"model_type": "t5"}, "model_type"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "linear"}, "beta_schedule"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow_prediction"}, "prediction"),
    ],
)
def test_what_is_not_built_here_is_refused(folder: Path, file: str, change: dict[str, Any], message: str) -> None:
    edit(folder / file, lambda config: config.update(change))
    with pytest.raises((UnsupportedConfig, InvalidInput), match=message):
        layout.read(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000])
def test_what_is_not_json_is_refused(folder: Path, content: str) -> None:
    (folder / "vae" / "config.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"vae.config\.json"):
        layout.read(folder)


@pytest.mark.parametrize(
    "file",
    ["unet/config.json", "vae/diffusion_pytorch_model.safetensors", "tokenizer/vocab.json", "model_index.json"],
)
def test_what_is_missing_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(NotFound, match=file.split("/")[-1].replace(".", r"\.")):
        layout.read(folder)
