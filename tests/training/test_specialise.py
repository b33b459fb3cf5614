"""Whole runs from a folder of pictures: what they leave, and that nothing of it depends on being stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from impasto.adapters.embeddings import read_embedding
from impasto.adapters.lora import read_adapter
from impasto.adapters.metadata import receipt_of
from impasto.corpus.statement import Statement
from impasto.errors import InvalidPlan, NotFinite, StateMismatch
from impasto.receipt import Receipt
from impasto.schema import read_json
from impasto.training.taught import rows_root
from impasto.weights import files
from impasto.weights.detect import open_model
from tests.training import teaching


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a tiny model in `model`, pictures in `pictures`, and a LoRA of them in `lora`."""
    folder = tmp_path_factory.mktemp("work")
    teaching.model(folder / "model")
    teaching.pictures(folder / "pictures")
    teaching.teach(folder, "lora", teaching.plan("lora", **LORA))
    return folder


LORA = {"adapter": {"rank": 2, "parts": ["unet", "text_encoder"], "dropout": 0.2}, "flip": True, "held_out": 0.25}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in files.load(path).items()}


def assert_same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def receipt(path: Path) -> Receipt:
    return Receipt.parse(read_json(path), str(path))


def test_a_run_leaves_a_file_with_its_receipt_rows_and_sheet(work: Path) -> None:
    run = work / "lora"
    adapter = read_adapter(run / "result.safetensors")
    assert set(adapter.parts) == {"unet", "text_encoder"}
    assert any(change.up.abs().max() > 0 for change in adapter.parts["unet"].values())
    beside = receipt(run / "result.receipt.json")
    assert beside.kind == "adapter"
    assert beside.identity == adapter.digest
    assert receipt_of(adapter) == beside
    assert [(parent.role, parent.identity) for parent in beside.parents] == [
        ("base", open_model(work / "model").digest)
    ]
    assert [use.selection for use in beside.corpora] == [rows_root(run / "result.rows.jsonl")]
    assert beside.corpora[0].rows == 3, "one is held out"
    assert beside.plans["result"].plan["adapter"]["rank"] == 2  # type: ignore[index, call-overload]  # of our own making
    with Image.open(run / "before-after.png") as sheet:
        assert sheet.size[0] > 64
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4]
    assert any("validation_error" in line for line in lines)
    assert (run / "ATTRIBUTION").is_file()


def test_what_nobody_said_stays_visible(work: Path) -> None:
    told = read_adapter(work / "lora" / "result.safetensors").metadata
    assert told["impasto.consent"] == "unknown: 3"
    assert told["modelspec.license"] == "unknown"
    assert told["modelspec.trigger_phrase"] == "zwx fox"
    assert (told["ss_network_dim"], told["ss_max_train_steps"], told["ss_num_train_images"]) == ("2", "4", "3")
    assert "unknown" in (work / "lora" / "ATTRIBUTION").read_text()
    assert receipt(work / "lora" / "result.receipt.json").corpora[0].bases == {"unknown": 3}


def test_a_run_that_was_left_goes_on_bit_for_bit(work: Path) -> None:
    from impasto.training.loop import Tick
    from impasto.training.specialise import Request, specialise

    plan = teaching.plan("lora", **LORA)
    request = Request(plan, work / "pictures", work / "model", work / "left", Statement())
    for stop in (1, 3):
        events = specialise(request)
        ticks = (event for event in events if isinstance(event, Tick))
        while next(ticks).progress.step < stop:
            pass
        events.close()
    assert teaching.teach(work, "left", plan)[0].progress.step == 3
    assert_same(work / "left" / "result.safetensors", work / "lora" / "result.safetensors")
    with pytest.raises(StateMismatch):
        teaching.teach(work, "left", teaching.plan("lora", **{**LORA, "seed": 5}))


def test_kill_9_changes_nothing(work: Path) -> None:
    written = work / "kill.toml"
    plan = teaching.plan("lora", stages=[{"size": 64, "batch": 1, "steps": 20}], sheet_every=20)
    written.write_text(teaching.toml(plan))
    words = ["train", "lora", str(work / "pictures"), "--plan", str(written), "--model", str(work / "model")]
    command = [sys.executable, "-m", "impasto", *words, "--name", "result"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([*command, "-o", str(work / "killed")], env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list((work / "killed").glob("states/step-*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    assert not (work / "killed" / "result.safetensors").exists()
    for output in ("killed", "whole"):
        teaching.teach(work, output, plan)
    assert_same(work / "killed" / "result.safetensors", work / "whole" / "result.safetensors")


def test_two_processes_make_what_one_makes(work: Path) -> None:
    written = work / "two.toml"
    written.write_text(teaching.toml(teaching.plan("lora", **{**LORA, "accumulate": 2})))
    words = ["train", "lora", str(work / "pictures"), "--plan", str(written), "--model", str(work / "model")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for output, start in (("one", [sys.executable]), ("two", launcher)):
        command = [*start, "-m", "impasto", *words, "--name", "result", "-o", str(work / output)]
        run = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    one, two = weights(work / "one" / "result.safetensors"), weights(work / "two" / "result.safetensors")
    assert all(torch.allclose(one[name].float(), two[name].float(), atol=1e-4) for name in one)
    said = [
        [json.loads(line) for line in (work / run / "metrics.jsonl").read_text().splitlines()] for run in ("one", "two")
    ]
    assert [line.get("loss") for line in said[0]] == pytest.approx([line.get("loss") for line in said[1]], abs=1e-6)


def test_batches_that_processes_cannot_share_are_refused() -> None:
    from impasto.training.processes import Processes

    assert list(Processes(1, 2).own(4)) == [1, 3]
    with pytest.raises(InvalidPlan, match="a multiple of 2"):
        Processes(0, 2).own(3)


def test_dreambooth_keeps_pictures_of_the_class_and_uses_them_again(work: Path) -> None:
    prior = {"prompt": "fox", "pictures": 2, "steps": 1}
    teaching.teach(work, "db", teaching.plan("dreambooth", prior=prior, text_encoder=True, masked=True))
    kept = {path.name: path.stat().st_mtime_ns for path in (work / "db" / "class").glob("*.png")}
    assert len(kept) == 2
    base, taught = open_model(work / "model"), open_model(work / "db" / "result")
    changed = {
        name for name in taught.component_digests if taught.component_digests[name] != base.component_digests[name]
    }
    assert {"unet", "text_encoder"} <= changed
    said = receipt(work / "db" / "result.receipt.json")
    assert said == taught.receipt
    assert said.identity == taught.digest
    assert [use.bases for use in said.corpora] == [{"unknown": 4}, {"synthetic": 2}]
    again = teaching.plan("dreambooth", prior={**prior, "pictures": 3}, stages=[{"size": 64, "batch": 1, "steps": 1}])
    for states in (work / "db" / "states").iterdir():
        states.unlink()
    teaching.teach(work, "db", again)
    now = {path.name: path.stat().st_mtime_ns for path in (work / "db" / "class").glob("*.png")}
    assert len(now) == 3
    assert kept.items() <= now.items()


def test_a_word_is_learned_and_with_it_an_adapter(work: Path) -> None:
    plan = teaching.plan("textual-inversion", word="zwx", vectors=2, begin="red fox", adapter={"rank": 2})
    teaching.teach(work, "word", plan)
    word = read_embedding(work / "word" / "zwx.safetensors")
    assert word.vectors.shape == (2, 32)
    base = open_model(work / "model").components["text_encoder"]
    table = base.file[base.names["embeddings.token_embedding.weight"]].float()
    begun = table[open_model(work / "model").tokenizer.encode("red fox")[:2]]
    assert 0 < (word.vectors - begun).abs().max() < 0.1, "they begin as the words they are told, and move"
    assert read_adapter(work / "word" / "result.safetensors").rank == 2


def test_a_plan_for_another_model_is_refused(work: Path) -> None:
    with pytest.raises(InvalidPlan, match="is for the model"):
        teaching.teach(work, "other", teaching.plan("lora", base="sha256:" + "0" * 64))


def test_a_loss_that_is_no_number_names_its_step(work: Path) -> None:
    wild = {"learning_rate": 1.0, "warmup": 0, "clip": 1e30}
    stages = [{"size": 64, "batch": 1, "steps": 200}]
    with pytest.raises(NotFinite, match=r"Step \d+: loss"):
        teaching.teach(work, "wild", teaching.plan("lora", optimiser=wild, stages=stages, adapter={"alpha": 1e9}))
