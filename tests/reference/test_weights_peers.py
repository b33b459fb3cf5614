"""Files as their own programs write them: with everything that a training leaves, and by other people's classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from impasto.adapters.embeddings import read_embedding
from impasto.weights.checkpoint import About
from impasto.weights.detect import Choices, kind_at, open_model
from impasto.weights.load import load_model, save_file, save_folder
from tests.weights import tiny
from tests.weights.layouts.test_ldm import tensors

FORMS = {"as now": {}, "as before 1.6": {"_use_new_zipfile_serialization": False}}
"""Ways to torch.save."""


def trained() -> dict[str, Any]:
    """What Lightning saves of a training of CompVis's: Stable Diffusion's weights are under `state_dict`."""
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    progress = {"total": {"ready": 3, "completed": 3}, "current": {"ready": 3, "completed": 3}}
    return {
        "epoch": 6,
        "global_step": 470_000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": tensors(tiny.stable_diffusion()),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": progress, "batches": [1, 2.5, None, True]}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val/loss'}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [schedule.state_dict()],
        "native_amp_scaling_state": {"scale": 65536.0},
        "hparams_name": "kwargs",
        "hyper_parameters": {"linear_start": 0.00085, "betas": (0.9, 0.999), "scale_by_std": False},
    }


@pytest.mark.parametrize("form", FORMS)
def test_a_training_of_compvis(form: str, tmp_path: Path) -> None:
    networks = tiny.stable_diffusion()
    save_file(tmp_path / "wanted.safetensors", networks, About(name="sd"))
    torch.save(trained(), tmp_path / "sd.ckpt", **FORMS[form])

    found = open_model(tmp_path / "sd.ckpt")

    assert found.digest == open_model(tmp_path / "wanted.safetensors").digest
    assert kind_at(tmp_path / "sd.ckpt") == ("model", "a Stable Diffusion model")
    average = load_model(tmp_path / "sd.ckpt", choices=Choices(ema=True))
    wanted = trained()["state_dict"]["model_ema.diffusion_modelinput_blocks00weight"]
    assert torch.equal(average.unet.conv_in.weight, wanted)
    assert not torch.equal(average.unet.conv_in.weight, networks.unet.conv_in.weight)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("parameter", [True, False])
def test_an_embedding_of_the_web_ui(form: str, parameter: bool, tmp_path: Path) -> None:
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    held = torch.nn.Parameter(vectors) if parameter else vectors
    said = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": held},
        "name": "cat",
        "step": 1500,
        "sd_checkpoint": "fe4efff1e1",
        "sd_checkpoint_name": "sd-v1-4",
    }
    torch.save(said, tmp_path / "cat.pt", **FORMS[form])

    found = read_embedding(tmp_path / "cat.pt")

    assert torch.equal(found.vectors, vectors)
    assert found.metadata["sd_checkpoint_name"] == "sd-v1-4"
    assert kind_at(tmp_path / "cat.pt") == ("embedding", "a textual inversion")


@pytest.mark.parametrize(("dtype", "safe"), [(torch.bfloat16, True), (torch.float16, False)])
def test_a_pipeline_that_diffusers_saved(dtype: torch.dtype, safe: bool, tmp_path: Path) -> None:
    save_folder(tmp_path / "ours", tiny.networks(), About(name="tiny"))
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "ours", dtype=dtype)
    pipe.save_pretrained(tmp_path / "theirs", safe_serialization=safe, variant="fp16", max_shard_size="1MB")

    found = load_model(tmp_path / "theirs")

    for part in ("text_encoder", "unet", "vae"):
        ours, wanted = getattr(found, part).state_dict(), getattr(tiny.networks(), part).state_dict()
        assert ours.keys() == wanted.keys()
        assert all(torch.equal(ours[name], wanted[name].to(dtype)) for name in wanted)
