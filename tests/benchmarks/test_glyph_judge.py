from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import judge
from impasto.corpus.store import Corpus
from impasto.errors import InvalidInput, StateMismatch
from impasto.training import data
from impasto.training.data import TrainingData
from impasto.training.plans import Stage
from impasto.weights import files

CONCEPTS = ("fox", "owl", "red-apple", "house")


def plan(steps: int = 6, **choices: object) -> judge.JudgePlan:
    small = {
        "stages": [Stage(size=16, batch=8, steps=steps)],
        "widths": (16, 32),
        "blocks": (1, 1),
        "styles": ("aa", "bb"),
        "select": {"concepts": CONCEPTS},
        "checkpoint_every": 2,
    }
    return judge.default_plan(steps, **(small | choices))


@pytest.fixture(scope="module")
def rows(corpus: Path) -> TrainingData:
    return data.load(Corpus.open(corpus), plan().select)


def trained(wanted: judge.JudgePlan, rows: TrainingData, path: Path) -> judge.Judge:
    for _ in judge.train(wanted, rows, path):
        pass
    return judge.load(path)


def test_learns_what_drawings_show_and_in_whose_style(rows: TrainingData, tmp_path: Path) -> None:
    still = {"rotation": 0, "shift": 0, "scales": (1, 1), "tint": 0, "blurred": 0, "ema": 0.5}
    found = trained(plan(60, **still), rows, tmp_path / "judge.safetensors")
    seen = judge.accuracy(found, rows.train)
    assert seen["concept_r1"] > 0.7
    assert seen["style_r1"] > 0.7
    assert seen["concept_r5"] == 1


def test_the_same_seed_gives_the_same_judge_and_another_seed_another(rows: TrainingData, tmp_path: Path) -> None:
    one, same = (trained(plan(), rows, tmp_path / name).digest for name in ("one", "same"))
    assert one == same != trained(plan(seed=1), rows, tmp_path / "other").digest


def test_a_training_that_was_stopped_goes_on(rows: TrainingData, tmp_path: Path) -> None:
    whole = trained(plan(), rows, tmp_path / "whole").digest
    begun = judge.train(plan(), rows, tmp_path / "stopped")
    for tick in begun:
        if tick.progress.step == 4:
            break
    begun.close()
    assert trained(plan(), rows, tmp_path / "stopped").digest == whole


def test_a_judge_that_is_there_is_kept(rows: TrainingData, tmp_path: Path) -> None:
    trained(plan(), rows, tmp_path / "judge")
    assert list(judge.train(plan(), rows, tmp_path / "judge")) == []
    with pytest.raises(StateMismatch, match="another output folder"):
        list(judge.train(plan(8), rows, tmp_path / "judge"))


def test_the_file_says_what_it_was_made_from(rows: TrainingData, tmp_path: Path) -> None:
    trained(plan(), rows, tmp_path / "judge")
    about = files.load(tmp_path / "judge").metadata
    assert about["rows"] == rows.use.selection
    assert about["corpus"] == rows.use.root
    assert judge.JudgePlan.parse(json.loads(about["plan"]), "it") == plan()
    assert 0 <= json.loads(about["held_out"])["concept_r1"] <= 1


def test_other_files_are_no_judges(tmp_path: Path) -> None:
    files.save(tmp_path / "x", {"a": torch.zeros(1)})
    with pytest.raises(InvalidInput, match="not a judge"):
        judge.load(tmp_path / "x")


def test_unmoved_drawings_on_white_are_what_the_judge_is_asked_about(rows: TrainingData) -> None:
    still = plan(rotation=0, shift=0, scales=(1, 1), tint=0, blurred=0, backgrounds={"white": 1})
    images = rows.train.images
    pictures = judge.augmented(still, judge.small(images, 16), torch.Generator().manual_seed(0))
    expected = judge.resized(judge.laid_on(images, judge.white(len(images))), 16)
    nearest = torch.minimum(
        (pictures - expected).abs().amax((1, 2, 3)), (pictures.flip(-1) - expected).abs().amax((1, 2, 3))
    )
    assert nearest.max() < 0.03  # 8-bit rounding, twice


def test_collections_without_a_style_teach_concepts_only(rows: TrainingData) -> None:
    _, styles = judge.labels(plan(), rows.train)
    other = torch.tensor([row.source.collection == "cc" for row in rows.train.rows])
    assert torch.equal(styles == judge.NO_STYLE, other)
    assert plan().styles[styles[~other][0]] in ("aa", "bb")


def test_ranks_count_what_is_higher() -> None:
    scores = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]])
    assert judge.ranks(scores, torch.tensor([1, 0])).tolist() == [0, 2]


def test_the_published_judge_is_small() -> None:
    wanted = judge.default_plan(styles=tuple("abcdefgh"))
    network = judge.JudgeNetwork(wanted.widths, wanted.blocks, 390, 8)
    assert 1e6 < sum(p.numel() for p in network.parameters()) < 2e6
