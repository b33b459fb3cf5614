"""`impasto adapter`, as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from impasto.adapters.embeddings import Embedding, read_embedding, write_embedding
from impasto.adapters.lora import read_adapter, write_adapter
from impasto.adapters.metadata import described, lora_hash, receipt_of
from impasto.cli import main
from impasto.receipt import CorpusUse, Receipt
from impasto.weights.checkpoint import About
from impasto.weights.detect import open_model
from impasto.weights.load import save_folder
from tests.adapters import random
from tests.weights import tiny

A = f"sha256:{'a' * 64}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and two adapters."""
    path = tmp_path_factory.mktemp("files")
    networks = tiny.networks()
    save_folder(path / "model", networks, About(name="tiny"))
    for seed, name in enumerate(("a", "b")):
        receipt = Receipt(kind="adapter", name=name, code="x", licence="MIT")
        adapter = random.adapter(seed=seed, name=name, modules=("attention",))
        made = described(adapter, networks.spec, base="tiny", receipt=receipt, more={"modelspec.trigger_phrase": name})
        write_adapter(made, path / f"{name}.safetensors")
    return path


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: object) -> int:
    return main(["adapter", *map(str, words)])


def told(path: Path | str, capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert run("inspect", path, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_adapters_merged_resized_and_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run("merge", folder / "a.safetensors", folder / "b.safetensors", "-o", "ab.safetensors", "--weights", "0.7,0.3")
        == 0
    )
    assert capsys.readouterr().out == "ab.safetensors\n"
    assert run("resize", "ab.safetensors", "-o", "small.safetensors", "--rank", "2", "--dtype", "float16") == 0
    about = told("small.safetensors", capsys)

    assert about["kind"] == "LoRA"
    assert about["layout"] == ["kohya"]
    assert about["parts"]["unet"] == {"layers": 32, "rank": "2", "alpha": "2", "modules": {"attention": 32}}
    assert about["dtypes"] == ["float16"]
    assert about["base"] == "tiny"
    assert about["receipt"]["licence"] == "MIT"
    assert about["receipt"]["parents"][0].startswith("ab (resized, sha256:")
    assert about["hash in A1111's pictures"] == lora_hash(Path("small.safetensors"))
    assert about["metadata"]["ss_network_dim"] == "2"
    receipt = receipt_of(read_adapter(Path("ab.safetensors")))
    assert receipt is not None
    assert [parent.name for parent in receipt.parents] == ["a", "b"]
    assert run("inspect", "ab.safetensors") == 0
    assert "layers: 32; rank: 8; alpha: 8" in " ".join(capsys.readouterr().out.split())


def test_works_of_unknown_right_stay_visible_in_all_that_is_made_of_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use = CorpusUse(root=A, selection=A, rows=5, policy=A, bases={"unknown": 4, "owner": 1})
    receipt = Receipt(kind="adapter", name="found", code="x", corpora=(use,))
    adapter = random.adapter(seed=3, name="found", modules=("attention",))
    write_adapter(described(adapter, tiny.networks().spec, receipt=receipt), tmp_path / "found.safetensors")

    assert run("merge", "found.safetensors", folder / "a.safetensors", "-o", "both.safetensors") == 0
    assert run("resize", "both.safetensors", "-o", "small.safetensors", "--rank", "2") == 0
    assert run("merge", folder / "model", "small.safetensors", "-o", "baked") == 0
    assert run("convert", "small.safetensors", "peft", "--to", "peft") == 0

    for made in ("found.safetensors", "both.safetensors", "small.safetensors", "peft"):
        assert told(made, capsys)["receipt"]["consent"] == "unknown 4, owner 1"
    for made in ("small.safetensors", "baked", "peft"):
        assert main(["inspect", made]) == 0
        assert "by right of: unknown 4, owner 1." in capsys.readouterr().out
    assert main(["list", "--folder", ".", "--json"]) == 0
    rows = {row["name"]: row["consent"] for row in json.loads(capsys.readouterr().out)}
    known = {"unknown": 4, "owner": 1}
    assert rows == {"baked": known, "both": known, "found": known, "peft": known, "small": known}
    assert main(["list", "--folder", "."]) == 0
    assert "unknown 4" in capsys.readouterr().out


def test_layouts_to_and_fro(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", folder / "a.safetensors", "peft", "--to", "peft") == 0
    assert run("convert", "peft", "back.safetensors", "--to", "kohya") == 0
    back, first = read_adapter(Path("back.safetensors")), read_adapter(folder / "a.safetensors")
    assert back.digest == first.digest
    assert receipt_of(back) == receipt_of(first)  # the same adapter, so its receipt stays true
    assert run("convert", folder / "a.safetensors", "half.safetensors", "--to", "kohya", "--dtype", "float16") == 0
    assert told("half.safetensors", capsys)["receipt"]["kind"] == "conversion"
    assert told("peft", capsys)["parts"]["unet"]["layers"] == 32


def test_into_a_model_and_out_of_it_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("merge", folder / "model", folder / "a.safetensors", "-o", "baked") == 0
    words = (
        "extract",
        folder / "model",
        "baked",
        "-o",
        "out.safetensors",
        "--rank",
        "4",
        "--clamp",
        "1",
        "--least",
        "0",
    )
    assert run(*words) == 0
    assert "holds 100.0% of the difference" in capsys.readouterr().err
    out, first = read_adapter(Path("out.safetensors")), read_adapter(folder / "a.safetensors")
    assert out.parts["unet"].keys() == first.parts["unet"].keys()
    assert told("out.safetensors", capsys)["receipt"]["parents"][1].startswith("baked (extracted from, ")
    assert run("merge", folder / "model", "baked", "-o", "half", "--method", "slerp") == 0
    assert open_model(Path("half")).receipt is not None
    assert run("merge", folder / "model", "baked", folder / "model", "-o", "third", "--method", "add-difference") == 0


def test_embeddings_looked_at_and_converted(capsys: pytest.CaptureFixture[str]) -> None:
    embedding = Embedding("style", torch.randn(3, 32), token="<style>")
    write_embedding(embedding, Path("style.bin"), "bin")
    assert run("convert", "style.bin", "style.safetensors", "--to", "emb_params") == 0
    about = told("style.bin", capsys)
    assert (about["kind"], about["token"], about["vectors"], about["width"]) == ("embedding", "<style>", 3, 32)
    assert read_embedding(Path("style.safetensors")).digest == embedding.digest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("merge", "-o", "x"), "nothing to merge"),
        (("merge", "{}/a.safetensors", "-o", "x", "--weights", "1,2"), "--weights needs 1 numbers"),
        (("merge", "{}/a.safetensors", "-o", "x", "--weights", "much"), "--weights 'much'"),
        (("merge", "{}/a.safetensors", "-o", "{}/b.safetensors"), "is there already"),
        (("merge", "{}/model", "{}/a.safetensors", "-o", "x", "--method", "slerp"), "is an adapter; slerp"),
        (("merge", "{}/model", "{}/a.safetensors", "-o", "x", "--method", "concatenate"), "is a model; concatenate"),
        (("merge", "{}/model", "-o", "x", "--method", "bake"), "at least one adapter"),
        (("merge", "{}/model", "-o", "x", "--method", "slerp"), "takes 2 models"),
        (("resize", "{}/a.safetensors", "-o", "x"), "How small"),
        (("resize", "{}/a.safetensors", "-o", "x", "--energy", "2"), "energy"),
        (("convert", "{}/a.safetensors", "x", "--to", "onnx"), "kohya-ldm"),
        (("inspect", "{}/nothing"), "Cannot read"),
        (("extract", "{}/a.safetensors", "{}/model", "-o", "x"), "this is a LoRA"),
    ],
)
def test_mistakes_are_said(words: tuple[str, ...], said: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*(word.replace("{}", str(folder)) for word in words)) in (1, 2)
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("x").exists()
