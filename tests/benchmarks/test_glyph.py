from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import asked, composing, glyph, judge, lessons, measures, nearness, opinions
from benchmarks.figures import Report
from benchmarks.measures import Answers, Exam, Size
from impasto.corpus.store import Corpus
from impasto.pipeline import load
from impasto.schema import read_json
from impasto.training import plans
from impasto.training.plans import ModelPlan, Stage

SMALL = Size(4, 4, 1, 2, 2, 2, 2, 2, 2, 4)
PLANNED = lessons.default_plan


@pytest.fixture(autouse=True)
def tiny_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(steps: int, seed: int, **choices: object) -> lessons.JudgePlan:
        small = {"widths": (16, 32), "blocks": (1, 1), "near": (16,), "native": 32}
        small["stages"] = [Stage(size=16, batch=8, steps=steps)]
        return PLANNED(steps, seed, **small, **choices)

    monkeypatch.setattr(lessons, "default_plan", planned)
    monkeypatch.setattr(glyph, "QUICK", SMALL)


@pytest.fixture
def common(corpus: Path, plan: Path) -> list[str]:
    return ["--corpus", str(corpus), "--plan", str(plan)]


@pytest.fixture
def referee(common: list[str], tmp_path: Path) -> Path:
    assert glyph.main(["judge", *common, "--output", str(tmp_path / "judge.safetensors"), "--steps", "2"]) == 0
    return tmp_path / "judge.safetensors"


@pytest.fixture
def exam(referee: Path, corpus: Path, plan: Path, model: Path) -> Exam:
    described = plans.read(ModelPlan, plan)
    return glyph.examination(load(model), judge.load(referee), Corpus.open(corpus), described, True, 0)[0]


def test_everything_is_measured_and_reported(
    common: list[str], referee: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(model), "--judge", str(referee), "--quick", "--output", str(tmp_path / "found.json")]
    assert glyph.main(["measure", *common, *words, "--sheet", str(tmp_path / "sheet.png")]) == 0
    printed = capsys.readouterr().out
    report = Report.parse(read_json(tmp_path / "found.json"), "it")
    assert {figure.name.partition(".")[0] for figure in report.figures} == set(glyph.MEASUREMENTS)
    assert all(figure.low <= figure.value <= figure.high for figure in report.figures)
    assert report.quick
    assert not report.learned_from_selection
    assert "receipt does not name" in printed
    with Image.open(tmp_path / "sheet.png") as opened:
        assert opened.width > 100
    assert glyph.main(["table", str(tmp_path / "found.json")]) == 0
    assert capsys.readouterr().out in printed


def test_the_same_seed_measures_the_same(common: list[str], referee: Path, model: Path, tmp_path: Path) -> None:
    files = [tmp_path / "one.json", tmp_path / "same.json"]
    words = ["--model", str(model), "--judge", str(referee), "--quick", "--only", "b,d"]
    for file in files:
        assert glyph.main(["measure", *common, *words, "--output", str(file)]) == 0
    assert json.loads(files[0].read_text()) == json.loads(files[1].read_text())


def test_a_judge_can_be_tried_on_a_collection_it_never_saw(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "judge.safetensors"
    assert glyph.main(["judge", *common, "--output", str(path), "--steps", "2", "--without", "bb"]) == 0
    assert "on bb, which it never saw: concept_r1" in capsys.readouterr().out
    assert judge.load(path).styles == ("aa", "cc")


def test_what_is_missing_is_said(
    common: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert glyph.main(["measure", *common, "--model", str(model), "--judge", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err


def test_held_out_pairs_are_none_that_was_trained_on(exam: Exam) -> None:
    trained = {(q.concept, q.collection) for q in exam.trained_pairs.questions}
    held_out = {(q.concept, q.collection) for q in exam.held_out_pairs.questions}
    rows = {(row.concept, row.source.collection) for row in exam.held_out.rows}
    assert held_out <= rows
    assert not trained & held_out


def test_any_meaning_of_a_word_counts_among_the_concepts_asked(exam: Exam) -> None:
    names = exam.judge.concepts  # fox, owl, red-apple, house
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    opinion = opinions.Opinion(torch.zeros(1, 4), scores, torch.zeros(1, 3))

    def within(places: int, *meant: str, among: tuple[str, ...] = names) -> bool:
        (hit,) = measures.found(
            exam.judge, Answers([asked.Question("x", 0, meant)], torch.zeros(1), opinion), among, places
        )
        return hit

    assert not within(1, "owl")
    assert within(2, "owl")
    assert within(1, "house", "fox")
    assert within(1, "owl", among=("owl", "house"))


def test_training_images_are_near_copies_and_held_out_ones_are_not(exam: Exam) -> None:
    bank = nearness.pixels(exam.training_pictures)
    real = nearness.pixels(exam.real.pictures)
    limit = nearness.threshold(real, bank)
    mirrored = nearness.pixels(measures.on_white(exam.train.images).flip(-1))
    assert (nearness.nearest(mirrored, bank) < limit).all()
    assert (nearness.nearest(real, bank) < limit).float().mean() <= 0.5
    assert nearness.spread(bank[:1].repeat(3, 1)) == pytest.approx(0, abs=1e-6)


def test_composed_drawings_hold_both() -> None:
    disc = torch.zeros(4, 32, 32, dtype=torch.uint8)
    disc[:, 8:24, 8:24] = torch.tensor([222, 60, 60, 255], dtype=torch.uint8)[:, None, None]
    two, stack = composing.side_by_side(disc), composing.one_on_another(disc, disc)
    assert composing.counted(measures.on_white(torch.stack([disc, two, stack])), 2) == [False, True, True]
    assert composing.mostly(measures.on_white(two[None]), ["red"]) == [True]
