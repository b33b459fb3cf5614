"""Folders to networks and back: strict, whole or not at all, in memory once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from impasto.errors import InvalidInput, KeyMismatch, NotFound, UnreadableWeights
from impasto.receipt import Receipt
from impasto.weights import files
from impasto.weights import load as loading
from impasto.weights.checkpoint import About
from impasto.weights.load import load_folder, save_file, save_folder
from tests.weights import tiny

PARTS = ("text_encoder", "unet", "vae")
UNET = Path("unet") / "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_folder(tmp_path / "tiny", tiny.networks(), About(name="tiny"))
    return tmp_path / "tiny"


def states(networks: Any) -> dict[str, torch.Tensor]:
    return {f"{part}.{k}": v for part in PARTS for k, v in getattr(networks, part).state_dict().items()}


def test_what_was_saved_is_loaded(folder: Path) -> None:
    loaded, wanted = states(load_folder(folder)), states(tiny.networks())
    assert loaded.keys() == wanted.keys()
    assert all(torch.equal(loaded[name], wanted[name]) for name in wanted)


def test_loaded_networks_are_ready(folder: Path) -> None:
    model = load_folder(folder)
    for part in PARTS:
        network = getattr(model, part)
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert not any(tensor.is_meta for tensor in [*network.parameters(), *network.buffers()])


def test_saving_again_gives_the_same_bytes_and_digest(folder: Path, tmp_path: Path) -> None:
    model = load_folder(folder)
    assert save_folder(tmp_path / "again", model, About(name="tiny")) == model.digest == tiny.networks().digest
    for file in folder.rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "again" / file.relative_to(folder)).read_bytes()


def test_conversion(folder: Path, tmp_path: Path) -> None:
    digest = save_folder(tmp_path / "half", load_folder(folder), About(name="tiny"), dtype=torch.float16)
    assert digest != load_folder(folder).digest
    as_stored, converted = load_folder(tmp_path / "half"), load_folder(tmp_path / "half", torch.float32)
    assert as_stored.digest == converted.digest == digest
    wanted = states(tiny.networks())
    for name, tensor in states(as_stored).items():
        assert tensor.dtype == torch.float16
        assert torch.equal(tensor, wanted[name].half())
    for name, tensor in states(converted).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, wanted[name].half().float())


def test_the_digest_is_of_weights_and_shape_only(folder: Path, tmp_path: Path) -> None:
    digest = load_folder(folder).digest
    folder.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "impasto.json").unlink()
    assert load_folder(tmp_path / "elsewhere").digest == digest
    assert tiny.networks("v_prediction").digest != digest
    assert tiny.networks(merges=101).digest != digest


def test_changing_the_networks_leaves_the_files_alone(folder: Path) -> None:
    model = load_folder(folder)
    model.unet.conv_in.weight.zero_()
    assert load_folder(folder).digest == model.digest


def change_unet(folder: Path, **changes: torch.Tensor | None) -> None:
    tensors = {name: tensor.clone() for name, tensor in files.load(folder / UNET).items()}
    tensors |= {name: tensor for name, tensor in changes.items() if tensor is not None}
    files.save(
        folder / UNET, {name: tensor for name, tensor in tensors.items() if changes.get(name, tensor) is not None}
    )


def test_a_mismatch_lists_everything_at_once(folder: Path) -> None:
    change_unet(
        folder,
        **{
            "conv_in.bias": None,
            "conv_out.bias": None,
            "surplus.weight": torch.ones(1),
            "conv_in.weight": torch.ones(3),
        },
    )
    with pytest.raises(KeyMismatch) as caught:
        load_folder(folder)
    assert caught.value.missing == ["conv_in.bias", "conv_out.bias"]
    assert caught.value.unknown == ["surplus.weight"]
    assert caught.value.misshapen == ["conv_in.weight: (3,) for (32, 4, 3, 3)"]


def test_unknown_tensors_are_called_as_in_the_file(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in files.load(path).items()}
    files.save(path, {**tensors, "text_model.novelty": torch.ones(1)})
    with pytest.raises(KeyMismatch) as caught:
        load_folder(folder)
    assert caught.value.unknown == ["text_model.novelty"]


def test_a_truncated_file_is_refused(folder: Path) -> None:
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(data[:-1])
    with pytest.raises(UnreadableWeights):
        load_folder(folder)


def test_no_model_is_a_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotFound, match=r"model_index\.json"):
            load_folder(path)


def test_a_model_is_replaced_and_nothing_else_is(folder: Path, tmp_path: Path) -> None:
    digest = save_folder(folder, tiny.networks("v_prediction"), About(name="other"))
    assert load_folder(folder).digest == digest
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "notes", tmp_path / "file"):
        with pytest.raises(InvalidInput, match="not replaced"):
            save_folder(path, tiny.networks(), About(name="tiny"))
    assert (tmp_path / "notes" / "diary.txt").read_text() == "dear diary"
    (tmp_path / "empty").mkdir()
    save_folder(tmp_path / "empty", tiny.networks(), About(name="tiny"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "notes", "tiny"]


def test_a_failure_leaves_what_was_there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_folder(folder).digest

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(loading, "write_text", fail)
    with pytest.raises(OSError, match="no space"):
        save_folder(folder, tiny.networks("v_prediction"), About(name="other"), notices={"LICENSE": "text"})
    assert load_folder(folder).digest == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_receipt_is_completed_and_comes_back(tmp_path: Path) -> None:
    receipt = Receipt(kind="base", name="tiny", code="0.1.0", licence="Apache-2.0")
    digest = save_folder(
        tmp_path / "tiny", tiny.networks(), About(name="tiny"), receipt=receipt, notices={"ATTRIBUTION": "by hand\n"}
    )
    model = load_folder(tmp_path / "tiny")
    assert model.checkpoint.receipt == receipt.model_copy(
        update={"identity": digest, "components": model.checkpoint.component_digests}
    )
    assert (tmp_path / "tiny" / "ATTRIBUTION").read_text() == "by hand\n"
    json.loads((tmp_path / "tiny" / "receipt.json").read_text())


# Growth of a process's memory by loading and running every weight once, and the most it ever had; in bytes.
MEASURE = """
import re, sys
from pathlib import Path
import torch
from impasto.weights.load import load_model

def memory(kind):  # not getrusage, whose peak is the parent's to begin with
    return 1024 * int(re.search(kind + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
torch.ones(1).sum()
dtype = getattr(torch, sys.argv[2]) if sys.argv[2] != "stored" else None
before = memory("VmRSS")
model = load_model(Path(sys.argv[1]), dtype)
assert "torch._dynamo" not in sys.modules  # seconds and 70 MB
total = 0.0
for part in (model.text_encoder, model.unet, model.vae):
    for parameter in part.parameters():
        total += parameter.sum().item()
if sys.argv[3] == "digest":
    model.digest
weights = sum(p.numel() * p.itemsize for m in (model.text_encoder, model.unet, model.vae) for p in m.parameters())
print(weights, memory("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("stored", "wanted", "digest"),
    [("float32", "stored", "no"), ("float32", "stored", "digest"), ("float16", "float32", "digest")],
)
def test_a_model_is_in_memory_once(tmp_path: Path, stored: str, wanted: str, digest: str) -> None:
    save_folder(tmp_path / "wide", tiny.networks(width=8), About(name="wide"), dtype=getattr(torch, stored))
    words = [sys.executable, "-c", MEASURE, str(tmp_path / "wide"), wanted, digest]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    weights, grown = map(int, run.stdout.split())
    assert weights > 150e6  # large enough for the interpreter's own ups and downs not to matter
    assert grown < 1.3 * weights


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("wanted", ["stored", "float16"])
def test_a_pickled_model_is_in_memory_once(tmp_path: Path, wanted: str) -> None:
    save_file(tmp_path / "wide.safetensors", tiny.networks(width=8), About(name="wide"))
    torch.save(dict(files.load(tmp_path / "wide.safetensors")), tmp_path / "wide.ckpt")
    words = [sys.executable, "-c", MEASURE, str(tmp_path / "wide.ckpt"), wanted, "no"]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    weights, grown = map(int, run.stdout.split())
    assert grown < 1.3 * weights
