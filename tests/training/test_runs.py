"""Whole runs on a tiny corpus: they end in files that load, and a kill changes nothing."""

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

import impasto
from impasto.errors import InvalidPlan, NotFinite, NotFound, StateMismatch
from impasto.receipt import Receipt
from impasto.training import runs
from impasto.training.loop import Tick
from impasto.weights import files
from tests.training import tiny
from tests.training.tiny import finish, write


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in files.load(path).items()}


def assert_same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


VAE_FILE = "vae/diffusion_pytorch_model.safetensors"
UNET_FILE = "model/unet/diffusion_pytorch_model.safetensors"


def test_a_run_leaves_states_metrics_pictures_and_the_model(trained: Path) -> None:
    for run in ("ae", "m"):
        assert [path.name for path in sorted((trained / run / "states").iterdir())] == [
            "step-00000008.safetensors",
            "step-00000012.safetensors",
        ]
        assert sorted(path.name for path in (trained / run / "sheets").iterdir()) == [
            "step-00000008.png",
            "step-00000012.png",
        ]
        assert (trained / run / "loss.png").read_bytes().startswith(b"\x89PNG")
        lines = [json.loads(line) for line in (trained / run / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8, 10, 12]
        assert any(name.startswith("validation_") for line in lines for name in line)
    model = impasto.load(str(trained / "m" / "model"))
    assert model.generate("fox", steps=2, seed=1)[0].image.size == (32, 32)


def test_the_receipt_names_what_the_model_was_made_from(trained: Path) -> None:
    receipt = Receipt.parse(json.loads((trained / "m" / "model" / "receipt.json").read_text()), "receipt")
    autoencoder = runs.read_autoencoder(trained / "ae")
    assert receipt.identity == impasto.load(str(trained / "m" / "model")).digest
    assert [(parent.role, parent.identity) for parent in receipt.parents] == [("autoencoder", autoencoder.digest)]
    assert set(receipt.plans) == {"autoencoder", "model"}
    assert receipt.plans["model"].plan["seed"] == 3
    assert [use.rows for use in receipt.corpora] == [use.rows for use in autoencoder.receipt.corpora]
    assert set(receipt.components) == {"text_encoder", "unet", "vae"}
    assert receipt.components["vae"] == autoencoder.digest
    within = runs.read_autoencoder(trained / "m" / "model")
    assert (within.digest, within.receipt) == (autoencoder.digest, autoencoder.receipt)
    credit = (trained / "m" / "model" / "ATTRIBUTION").read_text()
    assert all(f"Maker of {prefix}" in credit for prefix in ("aa", "bb", "cc"))


def test_the_finished_autoencoder_has_normalised_latents(trained: Path, corpus: Path) -> None:
    from impasto.corpus.store import Corpus
    from impasto.training import data
    from impasto.training.autoencoder import latent_statistics, on_white
    from impasto.training.plans import Selection

    rows = data.load(Corpus.open(corpus), Selection()).train
    mean, std = latent_statistics(runs.read_autoencoder(trained / "ae").load(), on_white(rows, 100))
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=5e-3, rtol=0)  # half precision
    torch.testing.assert_close(std, torch.ones_like(std), atol=5e-3, rtol=0)


def test_a_run_that_was_left_goes_on_bit_for_bit(trained: Path, corpus: Path, tmp_path: Path) -> None:
    plan = trained / "m.toml"
    for stop in (1, 6, 11):  # before the first state, in the middle of an interval, near the end
        events = runs.model(plan, corpus, trained / "ae", tmp_path / "m")
        ticks = (event for event in events if isinstance(event, Tick))
        while next(ticks).progress.step < stop:
            pass
        events.close()
    finish(runs.model(plan, corpus, trained / "ae", tmp_path / "m"))
    assert_same(tmp_path / "m" / UNET_FILE, trained / "m" / UNET_FILE)
    steps = [json.loads(line)["step"] for line in (tmp_path / "m" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_kill_9_costs_at_most_an_interval_and_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    plan = write(tmp_path, "ae", tiny.autoencoder(steps=60, sheet_every=60))
    finish(runs.autoencoder(plan, corpus, tmp_path / "whole"))
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "impasto", "train", "autoencoder", str(plan), "--corpus", str(corpus)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([*command, "--output", str(folder)], env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(folder.glob("states/step-*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    assert not (folder / "vae").exists()
    ticks = finish(runs.autoencoder(plan, corpus, folder))
    assert 0 < ticks[0].progress.step <= 60
    assert_same(folder / VAE_FILE, tmp_path / "whole" / VAE_FILE)


def test_a_state_of_another_plan_is_refused_and_kept(trained: Path, corpus: Path, tmp_path: Path) -> None:
    before = sorted((trained / "ae").rglob("*"))
    other = write(tmp_path, "other", tiny.autoencoder(kl_weight=0.5))
    with pytest.raises(StateMismatch, match="Use another output folder"):
        finish(runs.autoencoder(other, corpus, trained / "ae"))
    assert sorted((trained / "ae").rglob("*")) == before


def test_training_goes_on_from_finished_weights_that_the_plan_names(
    trained: Path, corpus: Path, tmp_path: Path
) -> None:
    earlier = runs.read_autoencoder(trained / "ae")
    plan = write(tmp_path, "on", tiny.autoencoder(steps=4, start=earlier.digest, decoder_only=True))
    with pytest.raises(InvalidPlan, match="Give its folder with --start"):
        finish(runs.autoencoder(plan, corpus, tmp_path / "on"))
    finish(runs.autoencoder(plan, corpus, tmp_path / "on", start=trained / "ae"))
    old, new = weights(trained / "ae" / VAE_FILE), weights(tmp_path / "on" / VAE_FILE)
    assert all(torch.equal(old[name], new[name]) for name in old if name.startswith(("encoder.", "quant_conv.")))
    assert not torch.equal(old["decoder.conv_in.weight"], new["decoder.conv_in.weight"])
    receipt = runs.read_autoencoder(tmp_path / "on").receipt
    assert [parent.identity for parent in receipt.parents] == [earlier.digest]
    assert set(receipt.plans) == {"autoencoder", "autoencoder-2"}
    wrong = write(tmp_path, "wrong", tiny.autoencoder(start="sha256:" + "0" * 64))
    with pytest.raises(InvalidPlan, match=earlier.digest):
        finish(runs.autoencoder(wrong, corpus, tmp_path / "wrong", start=trained / "ae"))


def test_a_model_goes_on_from_a_finished_one(trained: Path, corpus: Path, tmp_path: Path) -> None:
    digest = impasto.load(str(trained / "m" / "model")).digest
    for number, start in enumerate((digest, "any")):
        plan, output = write(tmp_path, f"on-{number}", tiny.model(steps=4, start=start)), tmp_path / f"run-{number}"
        finish(runs.model(plan, corpus, trained / "ae", output, start=trained / "m" / "model"))
        receipt = Receipt.parse(json.loads((output / "model" / "receipt.json").read_text()), "receipt")
        assert {parent.role for parent in receipt.parents} == {"autoencoder", "start"}
        assert digest in [parent.identity for parent in receipt.parents]
        credit = (output / "model" / "ATTRIBUTION").read_text()
        assert credit.endswith((trained / "m" / "model" / "ATTRIBUTION").read_text())


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(corpus: Path, tmp_path: Path) -> None:
    wild = {"name": "adamw", "learning_rate": 0.9, "warmup": 0, "clip": 1e30, "betas": [0.0, 0.0]}
    plan = write(tmp_path, "wild", tiny.autoencoder(steps=400, optimiser=wild, kl_weight=1e30, sheet_every=1000))
    with pytest.raises(NotFinite, match=r"Step \d+: loss .*Lower optimiser.learning_rate"):
        finish(runs.autoencoder(plan, corpus, tmp_path / "wild"))


def test_an_autoencoder_that_is_not_finished_is_no_autoencoder(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"config\.json is missing"):
        finish(runs.model(write(tmp_path, "m", tiny.model()), corpus, tmp_path, tmp_path / "m"))


def test_an_autoencoder_of_another_shape_is_refused(trained: Path, corpus: Path, tmp_path: Path) -> None:
    spec = {**tiny.SPEC, "vae": {**tiny.VAE, "block_out_channels": [8, 16, 16]}}
    with pytest.raises(InvalidPlan, match="another shape"):
        finish(runs.model(write(tmp_path, "m", tiny.model(model=spec)), corpus, trained / "ae", tmp_path / "m"))
