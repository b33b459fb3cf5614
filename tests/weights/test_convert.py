"""Conversions, and what is said of files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from impasto.cli import main
from impasto.errors import InvalidInput
from impasto.receipt import Receipt
from impasto.weights import files
from impasto.weights.checkpoint import About
from impasto.weights.convert import convert
from impasto.weights.description import describe
from impasto.weights.detect import Choices, open_model
from impasto.weights.load import load_model, save_folder
from tests.weights import tiny
from tests.weights.layouts.test_ldm import tensors

NOTICES = {"ATTRIBUTION": "by hand\n", "LICENSE": "as you like\n"}


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.ckpt"
    torch.save({"state_dict": tensors(tiny.stable_diffusion())}, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    receipt = Receipt(kind="base", name="tiny", code="0.1.0", licence="Apache-2.0")
    save_folder(path, tiny.networks(), About(name="tiny"), receipt=receipt, notices=NOTICES)
    return path


def test_there_and_back(ckpt: Path, tmp_path: Path) -> None:
    convert(ckpt, tmp_path / "folder", "diffusers")
    convert(tmp_path / "folder", tmp_path / "model.safetensors", "ldm")
    wanted = tensors(tiny.stable_diffusion())
    extras = open_model(ckpt).extras
    got = files.load(tmp_path / "model.safetensors")
    assert got.keys() == wanted.keys() - extras.keys()
    assert all(torch.equal(got[name], wanted[name]) for name in got)


def test_a_pickle_becomes_safetensors_whole_or_pruned(ckpt: Path, tmp_path: Path) -> None:
    wanted = tensors(tiny.stable_diffusion())
    convert(ckpt, tmp_path / "whole.safetensors", "ldm")
    got = files.load(tmp_path / "whole.safetensors")
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[name], wanted[name]) for name in got)
    convert(ckpt, tmp_path / "pruned.safetensors", "ldm", prune=True)
    assert not open_model(tmp_path / "pruned.safetensors").extras


def test_a_conversion_says_what_it_was_made_from(folder: Path, tmp_path: Path) -> None:
    before = open_model(folder)
    same = convert(folder, tmp_path / "same.safetensors", "ldm")
    assert same.digest == before.digest
    assert same.receipt == before.receipt
    half = convert(folder, tmp_path / "half.safetensors", "ldm", dtype=torch.float16)
    assert half.receipt is not None
    assert half.receipt.identity == half.digest != before.digest
    assert half.receipt.parents[0].identity == before.digest
    assert half.receipt.licence == "Apache-2.0"
    assert files.load(tmp_path / "half.safetensors").metadata["modelspec.license"] == "Apache-2.0"
    assert half.notices == same.notices == NOTICES
    assert convert(tmp_path / "half.safetensors", tmp_path / "back", "diffusers").notices == NOTICES


def test_nothing_is_overwritten(ckpt: Path, folder: Path) -> None:
    for target in (ckpt, folder):
        with pytest.raises(InvalidInput, match="not overwritten"):
            convert(ckpt, target, "ldm")


def test_the_command(ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "half.safetensors"
    assert main(["convert", str(ckpt), str(target), "--to", "ldm", "--dtype", "float16", "--ema", "--prune"]) == 0
    assert capsys.readouterr().out.split() == [str(target)]
    got = load_model(target)
    wanted = load_model(ckpt, torch.float16, choices=Choices(ema=True))
    assert all(torch.equal(p, q) for p, q in zip(got.unet.parameters(), wanted.unet.parameters(), strict=True))
    assert main(["convert", str(ckpt), str(target), "--to", "ldm"]) == 2


def test_a_file_is_described(ckpt: Path) -> None:
    found = describe(ckpt)
    assert found.what == "a Stable Diffusion model"
    (file,) = found.files
    assert file.sha256 == hashlib.sha256(ckpt.read_bytes()).hexdigest()
    assert file.short == file.sha256[:10]
    assert file.tensors == len(tensors(tiny.stable_diffusion()))
    assert found.checkpoint is not None


def test_what_is_no_model_is_described_too(tmp_path: Path) -> None:
    files.save(tmp_path / "x.safetensors", {"lora_unet_x.lora_down.weight": torch.ones(1)}, {"ss_network_dim": "4"})
    found = describe(tmp_path / "x.safetensors")
    assert (found.what, found.checkpoint) == ("a LoRA", None)
    assert found.plain()["files"][0]["metadata"] == {"ss_network_dim": "4"}


def test_the_inspect_command(ckpt: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(ckpt)]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("stable-diffusion-v1", "epsilon", "F32", describe(ckpt).files[0].short))
    assert main(["inspect", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["files"]) == 3
    assert told["model"]["digest"] == tiny.networks().digest
    assert told["model"]["receipt"]["licence"] == "Apache-2.0"


def test_metadata_cannot_pass_for_what_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = {"sha256": "0" * 64, "title": "\x1b[2J[bold]nice[/bold]"}
    files.save(tmp_path / "x.safetensors", {"lora_unet_x.lora_down.weight": torch.ones(1)}, told)
    assert main(["inspect", str(tmp_path / "x.safetensors")]) == 0
    shown = capsys.readouterr().out
    assert describe(tmp_path / "x.safetensors").files[0].sha256 in shown
    assert shown.index("Metadata") < shown.index("0" * 64)
    assert "\x1b" not in shown
    assert "[bold]nice" in shown
