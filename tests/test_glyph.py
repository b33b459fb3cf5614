"""Glyph as it is shipped: whole, small, and able to say what it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest

import impasto
from impasto.corpus.store import Corpus, root_of
from impasto.pipeline import Model
from impasto.receipt import Receipt
from impasto.rights.receipts import EARLIER
from impasto.schema import read_json
from impasto.training.data import selected
from impasto.training.plans import ModelPlan, WordsPlan
from impasto.training.runs import read_autoencoder

FOLDER = Path(impasto.__file__).parent / "glyph"
PARTS = ("text_encoder", "unet", "vae")


@pytest.fixture(scope="module")
def model() -> Model:
    return impasto.load("glyph")


@pytest.fixture(scope="module")
def receipt() -> Receipt:
    return Receipt.parse(read_json(FOLDER / "receipt.json"), "receipt.json")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.open(FOLDER / "corpus")


def test_the_weights_are_those_of_the_receipt_and_small(model: Model, receipt: Receipt) -> None:
    assert receipt.identity == model.digest
    assert (
        sum(file.stat().st_size for file in FOLDER.glob("*/*.safetensors") if file.parent.name in PARTS) <= 60_000_000
    )


def test_the_manifest_is_whole_and_the_one_that_was_learned_from(corpus: Corpus, receipt: Receipt) -> None:
    assert corpus.verify() == []
    assert {use.root for use in receipt.corpora} == {corpus.root}
    assert {use.policy for use in receipt.corpora} == {corpus.policy.digest}


def test_the_rows_learned_from_are_those_of_the_plan_and_none_was_held_out(corpus: Corpus, receipt: Receipt) -> None:
    plan = ModelPlan.parse(receipt.plans["model"].plan, "the plan in the receipt")
    learned = selected(corpus, plan.select)
    assert root_of(learned) in {use.selection for use in receipt.corpora}
    concepts = {row.concept for row in learned}
    assert any(row.split == "held-out" and row.concept in concepts for row in corpus.rows)


def test_every_maker_is_named(corpus: Corpus) -> None:
    said = (FOLDER / "ATTRIBUTION").read_text(encoding="utf-8")
    assert [name for name in {row.maker.name for row in corpus.rows if row.split == "train"} if name not in said] == []


def test_every_earlier_stage_has_left_its_receipt(receipt: Receipt) -> None:
    stages = [Receipt.parse(read_json(file), file.name) for file in sorted((FOLDER / EARLIER).glob("*.json"))]
    assert {stage.identity for stage in stages} == {
        parent.identity for parent in receipt.parents if parent.role == "start"
    }


def test_its_autoencoder_has_a_receipt_of_its_own(receipt: Receipt) -> None:
    autoencoder = read_autoencoder(FOLDER)
    assert autoencoder.digest == receipt.components["vae"]
    assert [parent.identity for parent in receipt.parents if parent.role == "autoencoder"] == [autoencoder.digest]


def test_it_draws_at_its_own_size_and_the_same_twice(model: Model) -> None:
    (one,), (other,) = (model.generate("red apple", seed=3, steps=4) for _ in range(2))
    assert one.image.size == (128, 128)
    assert one.image.tobytes() == other.image.tobytes()


def test_the_words_come_from_a_teacher_that_is_named(receipt: Receipt) -> None:
    plan = WordsPlan.parse(receipt.plans["words"].plan, "the plan in the receipt")
    assert [parent.name for parent in receipt.parents if parent.role == "text model"] == [
        f"{plan.teacher.package} {plan.teacher.version}"
    ]
    assert plan.teacher.credit in (FOLDER / "ATTRIBUTION").read_text(encoding="utf-8")


def test_the_words_it_is_measured_with_stand_in_no_caption_that_it_learned_from(
    corpus: Corpus, receipt: Receipt
) -> None:
    lines = (Path(__file__).parents[1] / "benchmarks" / "synonyms.txt").read_text(encoding="utf-8").splitlines()
    words = {line.partition(":")[0].strip() for line in lines if ":" in line and not line.startswith("#")}
    assert len(words) == 100
    plan = ModelPlan.parse(receipt.plans["model"].plan, "the plan in the receipt")
    learned = [row for row in corpus.rows if row.concept in plan.select.concepts]
    assert words.isdisjoint(row.caption.text for row in learned)
