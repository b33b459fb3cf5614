"""Other tools' folders: found where they lie, known by content."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from impasto.errors import InvalidInput, NotFound
from impasto.weights import facts, files
from impasto.weights import folders as other
from impasto.weights.checkpoint import About
from impasto.weights.facts import Facts
from impasto.weights.folders import Registered, items, tool
from impasto.weights.load import save_file, save_folder
from impasto.weights.store import find
from tests.weights import tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    save_folder(path / "folder", tiny.networks(), About(name="tiny"))
    save_file(path / "model", tiny.networks(), About(name="tiny"))
    files.save(path / "lora", {"lora_unet_x.lora_down.weight": torch.ones(1)})
    files.save(path / "vae", tiny.networks().vae.state_dict())
    files.save(path / "controlnet", {"control_model.input_blocks.0.0.weight": torch.ones(1)})
    torch.save({"string_to_param": {"*": torch.ones(2, 768)}, "name": "x"}, path / "embedding")
    torch.save({"my-token": torch.ones(768)}, path / "vector")
    return path


Lay = Callable[..., None]


@pytest.fixture
def lay(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """Lay a link to one of the models at each place, which other tools' own files may be too."""
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(facts, "SETTLED", -1)

    def laid(**places: str) -> None:
        for what, paths in places.items():
            for path in paths.split():
                place = tmp_path / "tool" / path
                place.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if what == "folder" else os.link)(models / what, place)

    return laid


def found(folder: Path) -> dict[str, str | None]:
    return {item.name: item.kind for item in items(folder, Facts())}


def test_a1111(lay: Lay, tmp_path: Path) -> None:
    lay(
        model="models/Stable-diffusion/sub/a.safetensors models/ESRGAN/x.pth outputs/left.safetensors",
        lora="models/Lora/style.safetensors models/LyCORIS/other.safetensors models/Stable-diffusion/wrong.ckpt",
        vae="models/VAE/b.vae.pt",
        embedding="embeddings/bad.pt embeddings/worse.safetensors",
        vector="embeddings/odd.bin",
    )
    (tmp_path / "tool" / "models" / "Lora" / "style.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "tool" / "models" / "Lora" / "style.json").write_text("{}")
    known = tool(tmp_path / "tool")
    assert known is not None
    assert known.name == "A1111"
    assert found(tmp_path / "tool") == {
        "sub/a": "model",
        "wrong": "adapter",
        "style": "adapter",
        "other": "adapter",
        "b.vae": "vae",
        "bad": "embedding",
        "worse": "embedding",
        "odd": "embedding",
    }


def test_comfyui_and_its_further_paths(lay: Lay, tmp_path: Path) -> None:
    lay(
        model="models/checkpoints/a.safetensors",
        folder="models/diffusers/b",
        lora="models/loras/sub/style.x ../elsewhere/Lora/far.safetensors ../elsewhere/Lyco/farther.safetensors",
        embedding="models/embeddings/bad.pt ../elsewhere/embeddings/far-bad.pt",
        controlnet="models/checkpoints/c.safetensors",
    )
    paths = "a111:\n  base_path: ../elsewhere/\n  is_default: true\n  embeddings: embeddings\n  upscale_models: x\n"
    lines = "  loras: |\n    Lora\n    Lyco\n"
    (tmp_path / "tool" / "extra_model_paths.yaml").write_text(paths + lines)
    assert found(tmp_path / "tool") == {
        "a": "model",
        "c": None,
        "b": "model",
        "sub/style": "adapter",
        "bad": "embedding",
        "far": "adapter",
        "farther": "adapter",
        "far-bad": "embedding",
    }


@pytest.mark.parametrize("content", ["- x", "3", "a: [1, 2]", "a:\n  loras: [1]\n", "", "a: &a\n  b: *a\n"])
def test_further_paths_of_any_shape(lay: Lay, tmp_path: Path, content: str) -> None:
    lay(model="models/checkpoints/a.safetensors")
    (tmp_path / "tool" / "extra_model_paths.yaml").write_text(content)
    assert found(tmp_path / "tool") == {"a": "model"}


@pytest.mark.parametrize("content", ["a: [", "!!python/object/apply:os.system ['touch x']", "\x00"])
def test_further_paths_that_are_none(lay: Lay, tmp_path: Path, content: str) -> None:
    lay(model="models/checkpoints/a.safetensors")
    (tmp_path / "tool" / "extra_model_paths.yaml").write_text(content)
    with pytest.raises(InvalidInput, match=r"extra_model_paths\.yaml"):
        found(tmp_path / "tool")


def test_invokeai(lay: Lay, tmp_path: Path) -> None:
    lay(
        folder="models/sd-1/main/a",
        lora="models/3f2c/style.safetensors",
        embedding="models/sd-1/embedding/bad/learned_embeds.bin",
    )
    (tmp_path / "tool" / "invokeai.yaml").write_text("schema_version: 4.0.2\n")
    assert found(tmp_path / "tool") == {
        "3f2c/style": "adapter",
        "sd-1/embedding/bad/learned_embeds": "embedding",
        "sd-1/main/a": "model",
    }
    (tmp_path / "tool" / "models").rename(tmp_path / "moved")
    (tmp_path / "tool" / "invokeai.yaml").write_text(f"models_dir: {tmp_path / 'moved'}\n")
    assert len(found(tmp_path / "tool")) == 3


def test_any_other_folder_is_looked_through(lay: Lay, tmp_path: Path) -> None:
    lay(model="a.safetensors deep/er/b.x", folder="c", lora=".hidden/d.safetensors")
    (tmp_path / "tool" / "round").symlink_to(tmp_path / "tool", target_is_directory=True)
    (tmp_path / "tool" / "gone").symlink_to(tmp_path / "nowhere")
    assert found(tmp_path / "tool") == {"a": "model", "c": "model", "deep/er/b": "model"}


class Harm:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("harmed",)


def test_a_bad_file_is_said_to_be_bad_and_the_others_are_found(
    lay: Lay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lay(model="a.safetensors")
    (tmp_path / "tool" / "bad.ckpt").write_bytes(pickle.dumps({"state_dict": Harm()}, protocol=2))
    (tmp_path / "tool" / "cut.safetensors").write_bytes((tmp_path / "tool" / "a.safetensors").read_bytes()[:-1])
    (tmp_path / "tool" / "half").mkdir()
    (tmp_path / "tool" / "half" / "model_index.json").write_text("{}")
    there = {item.name: item for item in items(tmp_path / "tool", Facts())}
    assert {name: item.kind for name, item in there.items()} == {"a": "model", "bad": None, "cut": None, "half": None}
    assert "mkdir" in there["bad"].what
    assert "well-formed" in there["cut"].what
    assert not (tmp_path / "harmed").exists()


def test_what_a_file_is_is_found_out_once(lay: Lay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(embedding="a.pt", lora="b.safetensors")
    with facts.remembered() as known:
        first = list(items(tmp_path / "tool", known))
    monkeypatch.setattr(other, "_is", lambda _: pytest.fail("looked again"))
    with facts.remembered() as known:
        assert list(items(tmp_path / "tool", known)) == first


def test_nothing_is_copied_or_changed(lay: Lay, tmp_path: Path) -> None:
    lay(model="models/Stable-diffusion/a.safetensors", lora="models/Lora/b.safetensors")
    before = {path: path.stat() for path in (tmp_path / "tool").rglob("*")}
    Registered().add(tmp_path / "tool")
    assert find("a") == (tmp_path / "tool" / "models" / "Stable-diffusion" / "a.safetensors").resolve()
    assert find("b", "adapter").name == "b.safetensors"
    after = {path: path.stat() for path in (tmp_path / "tool").rglob("*")}
    assert [(p, s.st_mtime_ns, s.st_size) for p, s in after.items()] == [
        (p, s.st_mtime_ns, s.st_size) for p, s in before.items()
    ]
    assert sum(path.stat().st_size for path in (tmp_path / "home").iterdir()) < 10_000


def test_one_name_for_two_files(lay: Lay, tmp_path: Path) -> None:
    lay(model="a.safetensors sub/a.safetensors")
    Registered().add(tmp_path / "tool")
    with pytest.raises(InvalidInput, match="more than one model"):
        find("a.safetensors")
    assert find("sub/a") == (tmp_path / "tool" / "sub" / "a.safetensors").resolve()


def test_folders_are_added_and_removed(lay: Lay, tmp_path: Path) -> None:
    lay(model="a.safetensors")
    with pytest.raises(NotFound, match="nowhere"):
        Registered().add(tmp_path / "nowhere")
    for _ in range(2):
        Registered().add(tmp_path / "tool")
    assert list(Registered()) == [(tmp_path / "tool").resolve()]
    with pytest.raises(NotFound, match="tool"):
        Registered().remove(tmp_path)
    (tmp_path / "tool").rename(tmp_path / "unplugged")
    assert list(Registered()) == []
    Registered().remove(tmp_path / "tool")
    assert Registered().all() == []
    (tmp_path / "home" / "folders.json").write_text(json.dumps({"folders": 3}))
    with pytest.raises(InvalidInput, match="list of folders"):
        list(Registered())
