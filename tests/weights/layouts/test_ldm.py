"""The single file of Stable Diffusion: read, written, the same again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from impasto.errors import InvalidInput, KeyMismatch, UnsupportedConfig
from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import SPECS
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL
from impasto.receipt import Receipt
from impasto.weights import files
from impasto.weights.checkpoint import About, Settings
from impasto.weights.detect import Choices, open_model
from impasto.weights.layouts import ldm
from impasto.weights.load import build, load_model, save_file, save_folder
from tests.weights import tiny

KINDS = [("sd-1", 4, "epsilon"), ("sd-1", 9, "epsilon"), ("sd-2", 4, "epsilon"), ("sd-2", 4, "v_prediction")]
ABOUT = About(name="tiny")


def tensors(networks: tiny.Networks) -> dict[str, torch.Tensor]:
    """Return what a file of `networks` has, with all that released files have besides."""
    parts = {name: getattr(networks, name).state_dict() for name in ("text_encoder", "unet", "vae")}
    whole = ldm.tensors(networks.spec, parts)
    generator = torch.Generator().manual_seed(2)
    averages = {
        ldm.ema_name(name): torch.randn(tensor.shape, generator=generator)
        for name, tensor in whole.items()
        if name.startswith(ldm.UNET)
    }
    extras = {
        "betas": torch.rand(1000, generator=generator),
        "alphas_cumprod": torch.rand(1000, generator=generator),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(7),
    }
    second = {
        "cond_stage_model.model.logit_scale": torch.tensor(4.6),
        "cond_stage_model.model.text_projection": torch.randn(64, 64, generator=generator),
    }
    first = {f"{ldm.FAMILIES['sd-1'].text}embeddings.position_ids": torch.arange(77)[None]}
    return {**whole, **averages, **extras, **(second if networks.spec.text.hidden_act == "gelu" else first)}


def equal(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return got.keys() == wanted.keys() and all(
        got[name].dtype == tensor.dtype and torch.equal(got[name], tensor) for name, tensor in wanted.items()
    )


@pytest.fixture(params=KINDS, ids=["-".join(map(str, kind)) for kind in KINDS])
def networks(request: pytest.FixtureRequest) -> tiny.Networks:
    return tiny.stable_diffusion(*request.param)


def test_shapes_tell_what_the_model_is(networks: tiny.Networks, tmp_path: Path) -> None:
    files.save(tmp_path / "x.safetensors", tensors(networks))
    model = load_model(tmp_path / "x.safetensors", choices=Choices(prediction=networks.spec.prediction))
    assert model.spec == networks.spec.model_copy(update={"name": "x"})
    assert model.digest == networks.digest
    assert model.tokenizer(["a red fox!"]) == networks.tokenizer(["a red fox!"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_file_comes_out_as_it_went_in(networks: tiny.Networks, tmp_path: Path, dtype: torch.dtype) -> None:
    wanted = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors(networks).items()}
    files.save(tmp_path / "x.safetensors", wanted)
    checkpoint = open_model(tmp_path / "x.safetensors")
    save_file(tmp_path / "y.safetensors", build(checkpoint), checkpoint.about, extras=checkpoint.extras)
    if networks.spec.text.hidden_act == "gelu":  # the layer that nobody reads is among the extras
        assert any("resblocks.2." in name for name in checkpoint.extras)
    assert equal(dict(files.load(tmp_path / "y.safetensors")), wanted)


def test_a_file_comes_out_of_a_folder_as_it_went_in(networks: tiny.Networks, tmp_path: Path) -> None:
    wanted = tensors(networks)
    files.save(tmp_path / "x.safetensors", wanted)
    checkpoint = open_model(tmp_path / "x.safetensors")
    digest = save_folder(tmp_path / "folder", build(checkpoint), checkpoint.about)
    assert digest == checkpoint.digest
    folder = load_model(tmp_path / "folder")
    assert save_file(tmp_path / "y.safetensors", folder, ABOUT, extras=checkpoint.extras) == digest
    assert equal(dict(files.load(tmp_path / "y.safetensors")), wanted)


def test_what_is_left_out_is_listed(tmp_path: Path) -> None:
    networks = tiny.stable_diffusion()
    files.save(tmp_path / "x.safetensors", tensors(networks))
    extras = open_model(tmp_path / "x.safetensors").extras
    averages = {name for name in extras if name.startswith("model_ema.diffusion_model")}
    assert len(averages) == len(networks.unet.state_dict())
    assert set(extras) - averages == {
        "betas",
        "alphas_cumprod",
        "model_ema.decay",
        "model_ema.num_updates",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
    }


def test_the_moving_average_is_taken_when_asked_for(tmp_path: Path) -> None:
    networks = tiny.stable_diffusion()
    wanted = tensors(networks)
    files.save(tmp_path / "x.safetensors", wanted)
    average = load_model(tmp_path / "x.safetensors", choices=Choices(ema=True))
    assert torch.equal(average.unet.conv_in.weight, wanted["model_ema.diffusion_modelinput_blocks00weight"])
    assert not torch.equal(average.unet.conv_in.weight, networks.unet.conv_in.weight)
    assert torch.equal(average.vae.quant_conv.weight, networks.vae.quant_conv.weight)
    assert not any(name.startswith("model_ema") for name in average.checkpoint.extras)


def test_a_file_without_an_average_says_so(tmp_path: Path) -> None:
    save_file(tmp_path / "x.safetensors", tiny.stable_diffusion(), ABOUT)
    with pytest.raises(InvalidInput, match="no EMA"):
        open_model(tmp_path / "x.safetensors", Choices(ema=True))


def test_a_mismatch_of_the_whole_file_is_one_error(tmp_path: Path) -> None:
    wanted = tensors(tiny.stable_diffusion("sd-2"))
    del wanted["model.diffusion_model.out.0.bias"], wanted["model_ema.diffusion_modelout0bias"]
    del wanted["first_stage_model.decoder.norm_out.bias"]
    del wanted["cond_stage_model.model.transformer.resblocks.0.attn.in_proj_bias"]
    wanted |= {"model.diffusion_model.label_emb.weight": torch.ones(1), "novelty": torch.ones(1)}
    wanted |= {"model_ema.novelty": torch.ones(1), "cond_stage_model.model.transformer.resblocks.9.x": torch.ones(1)}
    wanted["first_stage_model.encoder.mid.attn_1.q.weight"] = torch.ones(8, 8, 1, 1)
    files.save(tmp_path / "x.safetensors", wanted)
    with pytest.raises(KeyMismatch) as caught:
        load_model(tmp_path / "x.safetensors")
    assert caught.value.unknown == [
        "cond_stage_model.model.transformer.resblocks.9.x",
        "model.diffusion_model.label_emb.weight",
        "model_ema.novelty",
        "novelty",
    ]
    assert set(caught.value.missing) == {
        "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_bias",
        "first_stage_model.decoder.norm_out.bias",
        "model.diffusion_model.out.0.bias",
    }
    assert caught.value.misshapen == ["first_stage_model.encoder.mid.attn_1.q.weight: (8, 8) for (64, 64)"]


def test_a_file_written_here_says_what_shapes_do_not(tmp_path: Path) -> None:
    networks = tiny.networks("v_prediction")  # other heads and groups than the family's
    about = About(name="Tiny Ⅱ", settings=Settings(steps=7, guidance=3, sampler="euler", schedule="normal"))
    receipt = Receipt(kind="base", name="tiny", code="0.1.0", licence="Apache-2.0")
    digest = save_file(tmp_path / "x.safetensors", networks, about, receipt=receipt)
    checkpoint = open_model(tmp_path / "x.safetensors")
    assert checkpoint.spec == networks.spec.model_copy(update={"name": "Tiny Ⅱ"})
    assert checkpoint.about == about
    assert checkpoint.digest == digest == networks.digest
    assert checkpoint.receipt is not None
    assert checkpoint.receipt.identity == digest
    metadata = files.load(tmp_path / "x.safetensors").metadata
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1"
    assert metadata["modelspec.prediction_type"] == "v"
    assert metadata["modelspec.resolution"] == "64x64"


def test_metadata_that_contradict_the_shapes_are_refused(tmp_path: Path) -> None:
    save_file(tmp_path / "x.safetensors", tiny.networks(), ABOUT)
    file = files.load(tmp_path / "x.safetensors")
    spec = tiny.networks().spec
    unet = spec.unet.model_copy(update={"layers_per_block": 10**9})  # would take for ever to build
    said = {ldm.SPEC: spec.model_copy(update={"unet": unet}).model_dump_json()}
    files.save(tmp_path / "y.safetensors", dict(file), said)
    with pytest.raises(UnsupportedConfig, match=r"unet\.layers_per_block: 1000000000 in its metadata, 1 by"):
        open_model(tmp_path / "y.safetensors")


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    files.save(tmp_path / "x", tensors(tiny.stable_diffusion()))
    path = (tmp_path / "x").rename(tmp_path / f"{'x' * 230}.safetensors")
    assert open_model(path).about.name == "x" * 200


def test_other_merges_travel_in_the_file(tmp_path: Path) -> None:
    networks = tiny.networks()
    merges = tuple(reversed(networks.tokenizer.merges))
    other = tiny.Networks(networks.spec, tiny.CLIPTokenizer(merges), networks.text_encoder, networks.unet, networks.vae)
    save_file(tmp_path / "x.safetensors", other, ABOUT)
    assert open_model(tmp_path / "x.safetensors").tokenizer.merges == merges


def test_saving_again_gives_the_same_bytes(tmp_path: Path) -> None:
    save_file(tmp_path / "x.safetensors", tiny.networks(), ABOUT)
    save_file(tmp_path / "y.safetensors", load_model(tmp_path / "x.safetensors"), ABOUT)
    assert (tmp_path / "x.safetensors").read_bytes() == (tmp_path / "y.safetensors").read_bytes()


def test_old_names_of_the_text_encoder_are_read(tmp_path: Path) -> None:
    wanted = tensors(tiny.stable_diffusion())
    old = {name.replace("transformer.text_model.", "transformer."): tensor for name, tensor in wanted.items()}
    assert old.keys() != wanted.keys()
    files.save(tmp_path / "x.safetensors", old)
    assert load_model(tmp_path / "x.safetensors").digest == tiny.stable_diffusion().digest


def test_old_and_new_names_at_once_are_a_mismatch(tmp_path: Path) -> None:
    wanted, name = tensors(tiny.stable_diffusion()), "final_layer_norm.bias"
    files.save(tmp_path / "x.safetensors", {**wanted, f"cond_stage_model.transformer.{name}": torch.ones(64)})
    with pytest.raises(KeyMismatch) as caught:
        load_model(tmp_path / "x.safetensors")
    assert caught.value.unknown == [f"cond_stage_model.transformer.{name}"]


def test_weights_show_what_is_predicted(tmp_path: Path) -> None:
    networks = tiny.stable_diffusion("sd-2")
    wanted, last = tensors(networks), f"{ldm.UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
    for bias, prediction in ((torch.zeros(64), "epsilon"), (torch.linspace(-1, 1, 64), "v_prediction")):
        files.save(tmp_path / "x.safetensors", {**wanted, last: bias})
        assert open_model(tmp_path / "x.safetensors").spec.prediction == prediction
    for metadata, prediction in (
        ({"modelspec.prediction_type": "v"}, "v_prediction"),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v_prediction"),
        ({"modelspec.architecture": "stable-diffusion-v2-512"}, "epsilon"),
    ):
        files.save(tmp_path / "x.safetensors", wanted, metadata)
        assert open_model(tmp_path / "x.safetensors").spec.prediction == prediction
    files.save(tmp_path / "x.safetensors", {**wanted, "v_pred": torch.zeros(0)})
    assert load_model(tmp_path / "x.safetensors").spec.prediction == "v_prediction"


@pytest.mark.parametrize("name", SPECS)
def test_every_spec_has_a_name_for_every_parameter(name: str) -> None:
    spec = SPECS[name]
    with torch.device("meta"):
        networks = {"text_encoder": CLIPTextEncoder(spec.text), "unet": UNet(spec.unet), "vae": AutoencoderKL(spec.vae)}
    parts = {part: module.state_dict() for part, module in networks.items()}
    written = ldm.tensors(spec, parts)
    assert len(written) == sum(map(len, parts.values()))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    wanted = tensors(tiny.stable_diffusion())
    without_text = {name: tensor for name, tensor in wanted.items() if not name.startswith("cond_stage_model")}
    files.save(tmp_path / "x.safetensors", without_text)
    with pytest.raises(UnsupportedConfig, match="cond_stage_model"):
        open_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize("content", ["[]", "{", '{"name": 3}', "[" * 100_000])
@pytest.mark.parametrize("key", [ldm.SPEC, ldm.ABOUT, ldm.RECEIPT, ldm.TOKENIZER])
def test_damaged_metadata_are_refused(tmp_path: Path, key: str, content: str) -> None:
    files.save(tmp_path / "x.safetensors", tensors(tiny.stable_diffusion()), {key: content})
    with pytest.raises(InvalidInput, match=r"x\.safetensors"):
        open_model(tmp_path / "x.safetensors")
