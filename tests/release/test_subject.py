"""What a receipt tells of the licences of what it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from impasto.errors import InvalidInput, ReceiptMismatch
from impasto.receipt import CorpusUse, Parent, PlanUse, Receipt
from impasto.release.kit import release
from impasto.release.subject import Choices, gather, of_stage
from impasto.rights import identity
from impasto.rights.lineage import Known, of
from impasto.weights.checkpoint import About
from impasto.weights.load import save_folder
from tests.release.conftest import DAY
from tests.weights import tiny

START = Parent(name="glyph", identity="sha256:" + "aa" * 32, role="start")
FIRST = {"kind": "model", "name": "glyph", "licence": "Apache-2.0"}
LAST = {"kind": "words", "name": "glyph", "licence": "Apache-2.0"}
BEFORE = START.model_copy(update={"identity": "sha256:" + "bb" * 32})


def receipt(*plans: dict[str, Any], parents: tuple[Parent, ...] = (START,), **fields: Any) -> Receipt:
    stages = {f"stage-{number}": PlanUse.of(plan) for number, plan in enumerate(plans)}
    return Receipt(kind="base", **{"name": "glyph", "code": "x", "plans": stages, "parents": parents, **fields})


@pytest.mark.parametrize(
    ("told", "licence"),
    [
        (receipt(FIRST, LAST), "Apache-2.0"),
        (receipt(FIRST, LAST, {**FIRST, "kind": "autoencoder", "licence": "MIT"}), "Apache-2.0"),
        (receipt(FIRST, FIRST, LAST, parents=(START, BEFORE)), "Apache-2.0"),
        # The start came from elsewhere: its plan is not among those that were taken over.
        (receipt(LAST), None),
        (receipt(FIRST, LAST, parents=(START, BEFORE)), None),
        (receipt({**FIRST, "name": "other"}, LAST), None),
        (receipt({**FIRST, "kind": "autoencoder"}, LAST), None),
        # More plans than stages: it cannot be told whose they are.
        (receipt(FIRST, FIRST, LAST), None),
        (receipt({**FIRST, "licence": "CC-BY-NC-4.0"}, LAST), None),
        (receipt({**FIRST, "licence": None}, {**LAST, "licence": None}), None),
        (receipt(FIRST, LAST, name="gloss"), None),
        (receipt(FIRST, LAST, parents=(START.model_copy(update={"role": "merged"}),)), None),
    ],
)
def test_the_licence_of_an_earlier_stage(told: Receipt, licence: str | None) -> None:
    assert of_stage(told, told.parents[0]) == licence


def test_an_earlier_stage_need_not_be_stated(tmp_path: Path) -> None:
    for folder, told in [("known", receipt(FIRST, LAST)), ("not", receipt(LAST))]:
        told = told.model_copy(update={"licence": "Apache-2.0"})
        save_folder(tmp_path / folder, tiny.networks(), About(name="glyph"), receipt=told)
    subject = gather(tmp_path / "known", Choices(DAY, "Ada"))
    assert [(part.name, part.role, part.licence) for part in subject.parts] == [("glyph", "base", "Apache-2.0")]
    assert subject.judgement.verdict == "ok"
    with pytest.raises(InvalidInput, match=r"glyph \(base, NOASSERTION\)"):
        gather(tmp_path / "not", Choices(DAY, "Ada"))


def staged(folder: Path, **stage: Any) -> Path:
    """Write a model that went on from a stage, and beside it the receipt of that stage."""
    told = receipt(LAST, licence="Apache-2.0")
    before = receipt(FIRST, parents=(), **{"identity": START.identity, "licence": "MIT", **stage})
    notices = {"earlier/first.json": before.canonical().decode()}
    save_folder(folder, tiny.networks(), About(name="glyph"), receipt=told, notices=notices)
    return folder


def test_the_receipt_of_an_earlier_stage_tells_its_licence(tmp_path: Path) -> None:
    use = CorpusUse(root=BEFORE.identity, selection=BEFORE.identity, rows=1, policy=BEFORE.identity)
    path = staged(tmp_path / "model", corpora=(use,))
    choices = Choices(DAY, "Ada", stated={f"corpus {use.root[7:19]}": "MIT"})
    subject = gather(path, choices)
    assert [(part.name, part.licence) for part in subject.parts] == [("glyph", "MIT"), ("corpus " + "b" * 12, "MIT")]
    for _ in release(subject, tmp_path / "out", identity.make()):
        pass
    assert gather(tmp_path / "out", choices).parts == subject.parts
    lineage = of(tmp_path / "out", Known())
    assert {use.root, START.identity} <= lineage.nodes.keys()


@pytest.mark.parametrize("stage", [{"identity": BEFORE.identity}, {"identity": None}])
def test_a_receipt_that_is_of_no_earlier_stage_is_a_mismatch(tmp_path: Path, stage: dict[str, Any]) -> None:
    with pytest.raises(ReceiptMismatch, match=r"earlier/first\.json is of glyph, which it was not made from"):
        gather(staged(tmp_path / "model", **stage), Choices(DAY, "Ada"))
