"""By what right an artefact learned: read from wherever its receipt is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from impasto.adapters.embeddings import Embedding, write_embedding
from impasto.adapters.lora import write_adapter
from impasto.adapters.metadata import described, described_embedding
from impasto.pipeline.library import Library
from impasto.receipt import CorpusUse, Receipt
from impasto.server.adapters import offered
from impasto.weights import files
from impasto.weights.checkpoint import About
from impasto.weights.consent import consent_at, in_words
from impasto.weights.layouts.ldm import RECEIPT
from impasto.weights.load import save_file, save_folder
from tests.adapters import random
from tests.weights import tiny

DIGEST = f"sha256:{'1' * 64}"


def use(rows: int, **bases: int) -> CorpusUse:
    return CorpusUse(root=DIGEST, selection=DIGEST, rows=rows, policy=DIGEST, bases=bases)


TAUGHT = Receipt(kind="adapter", name="taught", code="x", corpora=(use(9, owner=5, unknown=4), use(3)))
SAID = {"owner": 5, "unknown": 4, "not said": 3}


def test_every_kind_of_artefact_says_it(tmp_path: Path) -> None:
    networks = tiny.networks()
    word = described_embedding(Embedding("word", torch.ones(1, 32)), networks.spec, receipt=TAUGHT)
    for layout in ("pt", "emb_params"):
        write_embedding(word, tmp_path / f"word.{layout}", layout)
    adapter = described(random.adapter(modules=("attention",)), networks.spec, receipt=TAUGHT)
    for layout in ("kohya", "diffusers", "peft"):
        write_adapter(adapter, tmp_path / layout, layout)
    save_folder(tmp_path / "folder", networks, About(name="tiny"), receipt=TAUGHT)
    save_file(tmp_path / "file.safetensors", networks, About(name="tiny"), receipt=TAUGHT)

    found = {path.name: consent_at(path) for path in tmp_path.iterdir() if not path.name.endswith(".json")}

    assert len(found) == 7
    assert found == dict.fromkeys(found, SAID)
    assert in_words(SAID) == "owner 5, unknown 4, not said 3"
    (kohya,) = offered(Library.of([tmp_path / "kohya"]))
    assert kohya.consent == SAID


@pytest.mark.parametrize("told", [{}, {RECEIPT: "["}, {RECEIPT: "[" * 99999}, {RECEIPT: '{"kind": "adapter"}'}])
def test_what_says_nothing_is_not_known(told: dict[str, str], tmp_path: Path) -> None:
    files.save(tmp_path / "a.safetensors", {"emb_params": torch.ones(1, 4)}, told)
    (tmp_path / "empty").mkdir()

    for path in (tmp_path / "a.safetensors", tmp_path / "empty", tmp_path / "nowhere"):
        assert consent_at(path) is None
    assert in_words(None) == in_words({}) == "not known"
