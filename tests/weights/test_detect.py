"""What a file is is decided by its content; and which autoencoder, variant or shard is read."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import shutil
from pathlib import Path
from typing import Any

import diffusers as peer
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import ImpastoError, InvalidInput, KeyMismatch, NotFound, UnreadableWeights, UnsupportedConfig
from impasto.weights import files
from impasto.weights.checkpoint import About
from impasto.weights.containers import CONTAINERS, container, open_tensors
from impasto.weights.detect import CONTENTS, Choices, content, open_model, open_vae
from impasto.weights.load import load_model, save_file, save_folder
from tests.weights import tiny

ABOUT = About(name="tiny")
UNET = "unet/diffusion_pytorch_model"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as safetensors, as a pickle and as a folder."""
    path = tmp_path_factory.mktemp("models")
    save_file(path / "model.safetensors", tiny.stable_diffusion(), ABOUT)
    tensors = dict(files.load(path / "model.safetensors"))
    torch.save({"state_dict": tensors, "global_step": 3}, path / "model.ckpt")
    torch.save(tensors, path / "model.pt", _use_new_zipfile_serialization=False)
    save_folder(path / "folder", tiny.stable_diffusion(), ABOUT)
    return path


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "model.pt", "folder"])
def test_one_model_has_one_identity(here: Path, name: str) -> None:
    assert load_model(here / name).digest == tiny.stable_diffusion().digest


@pytest.mark.parametrize("content_of", ["model.safetensors", "model.ckpt", "model.pt"])
@pytest.mark.parametrize("name", ["x.safetensors", "x.SafeTensors", "x.ckpt", "x.PT", "x.bin", "x", "x.png"])
def test_the_name_says_nothing(here: Path, tmp_path: Path, content_of: str, name: str) -> None:
    shutil.copy(here / content_of, tmp_path / name)
    assert container(tmp_path / name) == container(here / content_of)
    assert open_tensors(tmp_path / name).keys() == open_tensors(here / content_of).keys()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGUF\x03\0\0\0" + bytes(50), "GGUF.*safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n <HTML>", "web page"),
        (b"\x1f\x8b\x08" + bytes(20), "gzipped"),
        (bytes(257) + b"ustar  \0" + bytes(300), "tar"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"", "no file of weights"),
        (b"hello", "no file of weights"),
        (bytes(1000), "no file of weights"),
        (b"\x89PNG\r\n\x1a\n", "is a picture"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(UnreadableWeights, match=message):
        open_tensors(tmp_path / "x.safetensors")


@given(st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x80\x02", b"GGUF", b"\x02\0\0\0\0\0\0\0{}"]), st.binary())
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(start + rest)
    try:
        kind = container(path)
        opened = files.load(path) if kind == "safetensors" else None
        assert opened is None or not opened
    except ImpastoError as error:
        assert isinstance(error, UnreadableWeights)  # noqa: PT017


def test_a_folder_or_nothing_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotFound):
            open_tensors(path)


def test_every_container_is_read_or_says_what_to_do() -> None:
    assert all(row.open or row.instead for row in CONTAINERS.values())


NAMES = {
    "lora": "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
    "sdxl": "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
    "sd3": "model.diffusion_model.joint_blocks.0.x_block.attn.proj.weight",
    "controlnet": "control_model.input_blocks.0.0.weight",
    "model": "model.diffusion_model.input_blocks.0.0.weight",
    "vae": "encoder.down.0.block.0.norm1.weight",
    "diffusers vae": "encoder.down_blocks.0.resnets.0.norm1.weight",
    "diffusers unet": "down_blocks.0.resnets.0.norm1.weight",
    "clip": "text_model.embeddings.token_embedding.weight",
    "embedding": "emb_params",
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_is_no_model_is_named(tmp_path: Path, kind: str) -> None:
    assert content([NAMES[kind]]) == kind
    files.save(tmp_path / "x.safetensors", {NAMES[kind]: torch.ones(1)})
    with pytest.raises(UnsupportedConfig, match=CONTENTS[kind].what if kind != "model" else "cond_stage_model"):
        open_model(tmp_path / "x.safetensors")


def test_what_nobody_knows_is_shown(tmp_path: Path) -> None:
    files.save(tmp_path / "x.safetensors", {name: torch.ones(1) for name in "abcd"})
    for opener in (open_model, open_vae):
        with pytest.raises(UnsupportedConfig, match=r"its 4 tensors are called a, b, c, \.\.\."):
            opener(tmp_path / "x.safetensors")


def test_choices_that_the_files_do_not_give(here: Path) -> None:
    with pytest.raises(InvalidInput, match="EMA"):
        open_model(here / "folder", Choices(ema=True))
    with pytest.raises(InvalidInput, match="variant"):
        open_model(here / "model.ckpt", Choices(variant="fp16"))
    with pytest.raises(NotFound, match=r"variant 'fp16'.*plain"):
        open_model(here / "folder", Choices(variant="fp16"))


@pytest.mark.parametrize("name", ["model.ckpt", "folder"])
def test_what_is_predicted_can_be_said(here: Path, name: str) -> None:
    checkpoint = open_model(here / name, Choices(prediction="v_prediction"))
    assert checkpoint.spec.prediction == "v_prediction"
    assert checkpoint.digest != open_model(here / name).digest


@functools.cache
def other_vae() -> tiny.Networks:
    networks = tiny.stable_diffusion("sd-2")
    vae = copy.deepcopy(networks.vae)
    for parameter in vae.parameters():
        parameter.mul_(2)
    return dataclasses.replace(networks, vae=vae)


@pytest.fixture(scope="module")
def autoencoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another autoencoder in every way that one can be kept."""
    path, networks = tmp_path_factory.mktemp("autoencoders"), other_vae()
    save_folder(path / "folder", networks, ABOUT)
    save_file(path / "model.safetensors", networks, ABOUT)
    whole = {name: tensor.clone() for name, tensor in files.load(path / "model.safetensors").items()}
    alone = {k.removeprefix("first_stage_model."): v for k, v in whole.items() if k.startswith("first_stage_model.")}
    files.save(path / "vae.safetensors", alone)
    torch.save({"state_dict": {**alone, "loss.logvar": torch.ones(1)}}, path / "vae.pt")
    files.save(path / "prefixed.safetensors", {f"first_stage_model.{k}": v for k, v in alone.items()})
    files.save(path / "diffusers.safetensors", networks.vae.state_dict())
    return path


@pytest.mark.parametrize("model", ["model.ckpt", "folder"])
@pytest.mark.parametrize(
    "name",
    [
        "folder",
        "folder/vae",
        "model.safetensors",
        "vae.safetensors",
        "vae.pt",
        "prefixed.safetensors",
        "diffusers.safetensors",
    ],
)
def test_another_autoencoder(here: Path, autoencoders: Path, model: str, name: str) -> None:
    loaded = load_model(here / model, choices=Choices(vae=autoencoders / name))
    wanted = other_vae().vae.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded.vae.state_dict().items())
    assert torch.equal(loaded.unet.conv_in.weight, tiny.stable_diffusion().unet.conv_in.weight)
    assert loaded.digest not in (tiny.stable_diffusion().digest, other_vae().digest)
    receipt = loaded.checkpoint.receipt
    assert receipt is not None
    assert (receipt.kind, receipt.identity) == ("assembly", loaded.digest)
    own, whole = files.tensors_digest(wanted), tiny.stable_diffusion().digest
    assert [(one.role, one.identity) for one in receipt.parents] == [("model", whole), ("autoencoder", own)]
    assert receipt.components["vae"] == own


@pytest.mark.parametrize("model", ["folder", "model.safetensors"])
def test_its_own_autoencoder_changes_nothing(here: Path, model: str) -> None:
    again = open_model(here / model, Choices(vae=here / "folder" / "vae"))
    assert again.digest == open_model(here / model).digest
    assert (again.receipt, again.substitute) == (None, None)


def test_what_is_no_autoencoder(here: Path, tmp_path: Path) -> None:
    files.save(tmp_path / "x.safetensors", {NAMES["lora"]: torch.ones(1)})
    with pytest.raises(UnsupportedConfig, match="LoRA"):
        open_model(here / "folder", Choices(vae=tmp_path / "x.safetensors"))


@pytest.fixture
def folder(here: Path, tmp_path: Path) -> Path:
    shutil.copytree(here / "folder", tmp_path / "folder")
    return tmp_path / "folder"


def variant(folder: Path, stem: str, name: str, dtype: torch.dtype) -> None:
    tensors = files.load(folder / f"{stem}.safetensors")
    files.save(folder / f"{stem}.{name}.safetensors", {key: value.to(dtype) for key, value in tensors.items()})


def test_variants(folder: Path) -> None:
    for stem in (UNET, "vae/diffusion_pytorch_model", "text_encoder/model"):
        variant(folder, stem, "fp16", torch.float16)
    assert load_model(folder).unet.conv_in.weight.dtype == torch.float32
    half = load_model(folder, choices=Choices(variant="fp16"))
    assert {p.dtype for part in (half.unet, half.vae, half.text_encoder) for p in part.parameters()} == {torch.float16}
    (folder / f"{UNET}.safetensors").unlink()
    assert load_model(folder).unet.conv_in.weight.dtype == torch.float16  # the only one there is
    variant(folder, f"{UNET}.fp16", "x", torch.float16)
    shutil.move(folder / f"{UNET}.fp16.x.safetensors", folder / f"{UNET}.ema.safetensors")
    with pytest.raises(NotFound, match="ema, fp16"):
        open_model(folder)


def test_components_without_the_variant_give_their_plain_weights(folder: Path) -> None:
    variant(folder, UNET, "fp16", torch.float16)
    half = load_model(folder, choices=Choices(variant="fp16"))
    assert (half.unet.conv_in.weight.dtype, half.vae.quant_conv.weight.dtype) == (torch.float16, torch.float32)


@pytest.mark.parametrize("name", [None, "fp16"])
def test_shards_that_the_peer_wrote(folder: Path, name: str | None) -> None:
    wanted = load_model(folder)
    digest = wanted.digest
    unet = peer.UNet2DConditionModel.from_pretrained(folder / "unet")
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="2MB", variant=name)
    assert len(list((folder / "unet").glob("*-of-*.safetensors"))) > 2
    shards = load_model(folder)
    assert shards.digest == digest
    assert torch.equal(shards.unet.conv_out.weight, wanted.unet.conv_out.weight)


def sharded(folder: Path, weight_map: Any = None) -> Path:
    """Divide the UNet's weights in two, and return the index."""
    tensors = {name: tensor.clone() for name, tensor in files.load(folder / f"{UNET}.safetensors").items()}
    (folder / f"{UNET}.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[:50], "b.safetensors": names[50:]}
    for file, part in parts.items():
        files.save(folder / "unet" / file, {name: tensors[name] for name in part})
    index = folder / f"{UNET}.safetensors.index.json"
    right = {name: file for file, part in parts.items() for name in part}
    index.write_text(json.dumps({"weight_map": right if weight_map is None else weight_map}))
    return index


def test_an_index_may_name_only_what_lies_beside_it(folder: Path) -> None:
    sharded(folder, {"conv_in.weight": "../vae/diffusion_pytorch_model.safetensors"})
    with pytest.raises(InvalidInput, match="not a file beside it"):
        open_model(folder)


@pytest.mark.parametrize("weight_map", [[], {}, {"a": 3}, "x"])
def test_an_index_that_is_none(folder: Path, weight_map: Any) -> None:
    sharded(folder, weight_map)
    with pytest.raises(InvalidInput, match="weight_map"):
        open_model(folder)


def test_an_index_and_its_shards_agree(folder: Path) -> None:
    index = sharded(folder)
    assert load_model(folder).digest == tiny.stable_diffusion().digest
    content_ = json.loads(index.read_text())
    del content_["weight_map"]["conv_in.bias"]
    content_["weight_map"]["novelty"] = "a.safetensors"
    index.write_text(json.dumps(content_))
    with pytest.raises(KeyMismatch) as caught:
        open_model(folder)
    assert (caught.value.unknown, caught.value.missing) == (["conv_in.bias"], ["novelty"])
    content_["weight_map"]["novelty"] = "c.safetensors"
    index.write_text(json.dumps(content_))
    with pytest.raises(NotFound, match=r"c\.safetensors"):
        open_model(folder)


def test_a_folder_from_before_safetensors(folder: Path) -> None:
    digest = load_model(folder).digest
    tensors = dict(files.load(folder / f"{UNET}.safetensors"))
    torch.save(tensors, folder / f"{UNET}.bin")
    (folder / f"{UNET}.safetensors").unlink()
    assert load_model(folder).digest == digest
