"""Adapters and embeddings given away: what is in the release, and that no change to it goes unseen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import impasto
from impasto.adapters.embeddings import Embedding, read_embedding, write_embedding
from impasto.adapters.lora import read_adapter, write_adapter
from impasto.adapters.metadata import described, described_embedding
from impasto.cli import main
from impasto.corpus.attribution import attribution
from impasto.corpus.store import root_of
from impasto.errors import InvalidInput
from impasto.receipt import CorpusUse, Parent, Receipt
from impasto.release import check, signature
from impasto.rights import artefacts
from impasto.rights.identity import Identity
from tests.adapters import random
from tests.release.test_check import WRONG, Change, _header, _said, unseen
from tests.rights import models
from tests.weights import tiny

RAIL = "CreativeML-OpenRAIL-M"
MIT = {"stated": {"tiny": "MIT"}, "licence": "Apache-2.0"}


def told(folder: Path, base: Path, kind: str) -> Receipt:
    """Leave in `folder` what a training leaves there besides, and return the receipt."""
    rows = models.rows()[:3]
    root = root_of(rows)
    (folder / "ink.rows.jsonl").write_bytes(b"".join(sorted(row.leaf() + b"\n" for row in rows)))
    (folder / "ATTRIBUTION").write_text(attribution("inks", root, rows))
    use = CorpusUse(root=root, selection=root, rows=3, policy="sha256:" + "2" * 64)
    parent = Parent(name="tiny", identity=artefacts.read(base).digest, role="base")
    return Receipt.model_validate(
        {"kind": kind, "name": "ink", "parents": [parent], "corpora": [use], "code": "impasto 0"}
    )


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    made, more = random.adapter(name="ink"), {"modelspec.trigger_phrase": "inky | <b>"}
    receipt = told(folder, model, "adapter")
    write_adapter(described(made, tiny.networks().spec, receipt=receipt, more=more), folder / "ink.safetensors")
    return folder / "ink.safetensors"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Path], adapter: Path) -> Path:
    return make(tmp_path_factory.mktemp("releases") / "ink", path=adapter, **MIT)


def test_an_adapter_is_what_it_was(given: Path, adapter: Path, model: Path, maker: Identity) -> None:
    released = read_adapter(given / "ink.safetensors")
    assert released.digest == read_adapter(adapter).digest
    assert released.metadata["modelspec.author"] == "Ada"
    assert released.metadata["modelspec.license"] == "Apache-2.0"
    assert impasto.load(model, adapters=[given / "ink.safetensors"]).library.adapter("ink")  # with its receipt in order
    report = check.verify(given, maker.root)
    assert report.state == "holds", report
    assert ("made from", f"tiny (base, {artefacts.read(model).digest})") in report.says


def test_what_is_said_of_it(given: Path) -> None:
    text = (given / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["base_model"], head["base_model_relation"]) == (["tiny"], "adapter")
    assert head["instance_prompt"] == "inky | <b>"
    assert "lora" in head["tags"]
    assert 'impasto generate "inky \\| &lt;b>" --model tiny --adapter ink.safetensors' in text
    assert "Ada: 2 works from noto; licence MIT" in (given / "ATTRIBUTION").read_text()
    assert "| MIT | 2 | 66.7% |" in (given / "DATASHEET.md").read_text()
    bill = json.loads((given / "bom.cdx.json").read_text())
    assert [one["name"] for one in bill["components"] if one["type"] == "file"] == ["ink.safetensors"]
    assert bill["metadata"]["component"]["pedigree"]["ancestors"][0]["name"] == "tiny"


TOLD: dict[str, Change] = {
    "wrong parent": _said("receipt.json", lambda said: said["parents"][0].update(identity=WRONG)),
    "another corpus": _said("receipt.json", lambda said: said["corpora"][0].update(selection=WRONG)),
    "no receipt": lambda folder: (folder / "receipt.json").unlink(),
    "another adapter named": _said("release.json", lambda said: said.update(identity=WRONG)),
    "another kind": _said("release.json", lambda said: said.update(kind="model")),
    "no file": _said("release.json", lambda said: said.update(file="../ink.safetensors.old")),
    "a licence that forbids it": _said("release.json", lambda said: said["parts"][0].update(licence="GPL-3.0-only")),
    "a row left out": lambda folder: (folder / "rows.jsonl").write_bytes(
        b"".join((folder / "rows.jsonl").read_bytes().splitlines(keepends=True)[1:])
    ),
    "no row": lambda folder: (folder / "rows.jsonl").write_bytes(b""),
    "rows that are none": lambda folder: (folder / "rows.jsonl").write_bytes(b"{}\n"),
    "a maker": lambda folder: (folder / "ATTRIBUTION").write_text(
        (folder / "ATTRIBUTION").read_text().replace("Ada", "Eve")
    ),
    "credits of something else": lambda folder: (folder / "ATTRIBUTION").write_text(
        f"Merkle root {WRONG}\n\n" + (folder / "ATTRIBUTION").read_text()
    ),
    "another hash in the header": _header("ink.safetensors", "modelspec.hash_sha256", "0x00"),
    "another receipt in the header": _header("ink.safetensors", "impasto.receipt", "{}"),
}
"""Changes that contradict what other files of the release say."""


def test_every_change_is_found(given: Path, tmp_path: Path) -> None:
    changes = {
        **TOLD,
        "an author": _header("ink.safetensors", "modelspec.author", "Eve"),
        "none at all": lambda _: None,
    }
    assert unseen(given, changes, 120, tmp_path / "copy") == ["none at all"]


@pytest.mark.parametrize("what", TOLD)
def test_what_even_a_new_signature_does_not_hide(what: str, given: Path, maker: Identity, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(given, tmp_path / "copy"))
    TOLD[what](folder)
    signature.sign(folder, maker)
    report = check.verify(folder, maker.root)
    assert report.state == "changed", report


def test_the_licence_of_the_base_counts(make: Callable[..., Path], adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"tiny \(base, NOASSERTION\): no licence is said"):
        make(tmp_path / "out", path=adapter, licence="Apache-2.0")
    with pytest.raises(InvalidInput, match="use restrictions have to be carried"):
        make(tmp_path / "out", path=adapter, licence="Apache-2.0", stated={"tiny": RAIL})
    (tmp_path / "text").write_text("CreativeML Open RAIL-M\n\nAttachment A\n\nYou agree not to do harm.\n")
    rail = {"licence": RAIL, "stated": {"tiny": RAIL}, "licence_text": tmp_path / "text"}
    out = make(tmp_path / "out", path=adapter, **rail)
    assert "You agree not to do harm." in (out / "USE_POLICY.md").read_text()


def test_rows_that_are_not_those_of_the_receipt_count_for_nothing(
    make: Callable[..., Path], adapter: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(adapter.parent, tmp_path / "copy"))
    rows = copy / "ink.rows.jsonl"
    rows.write_bytes(b"".join(rows.read_bytes().splitlines(keepends=True)[1:]))
    (copy / "ATTRIBUTION").write_text("Eve: 3 works\n")
    with pytest.raises(InvalidInput, match=r"corpus [0-9a-f]{12} \(corpus, NOASSERTION\)"):
        make(tmp_path / "out", path=copy / "ink.safetensors", **MIT)


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_an_embedding(ending: str, make: Callable[..., Path], model: Path, maker: Identity, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    path = tmp_path / "made" / f"ink.{ending}"
    word = Embedding("ink", torch.ones(2, 32))
    receipt = told(tmp_path / "made", model, "embedding")
    finished = described_embedding(word, tiny.networks().spec, receipt=receipt)
    write_embedding(finished, path, "pt" if ending == "pt" else "emb_params")
    out = make(tmp_path / "out", path=path, **MIT)
    assert read_embedding(out / "ink.safetensors").digest == word.digest
    assert check.verify(out, maker.root).state == "holds"
    assert yaml.safe_load((out / "README.md").read_text().split("---\n")[1])["instance_prompt"] == "ink"


def test_the_command(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))
    words = ["release", str(adapter), "-o", str(tmp_path / "out"), "--author", "Ada", "--licence", "Apache-2.0"]
    assert main(words) == 2
    assert "--part NAME=LICENCE" in capsys.readouterr().err
    assert main([*words, "--part", "tiny=MIT"]) == 0
    assert main(["verify", str(tmp_path / "out")]) == 0
    assert "learned from: 3 rows" in capsys.readouterr().out


def test_an_adapter_without_a_receipt_needs_an_answer(make: Callable[..., Path], tmp_path: Path) -> None:
    write_adapter(replace(random.adapter(name="found"), metadata={}), tmp_path / "found.safetensors")
    with pytest.raises(InvalidInput, match=r"found \(base, NOASSERTION\)"):
        make(tmp_path / "out", path=tmp_path / "found.safetensors", licence="Apache-2.0")
    out = make(tmp_path / "out", path=tmp_path / "found.safetensors", licence="Apache-2.0", answer="I made it.")
    assert check.verify(out).state == "unknown"
    assert "Undeclared" in (out / "DATASHEET.md").read_text()
