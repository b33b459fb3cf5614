from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import judge, lessons, opinions
from benchmarks.lessons import JudgePlan, Lessons
from impasto.corpus.store import Corpus
from impasto.errors import InvalidInput, StateMismatch
from impasto.training.autoencoder import resized
from impasto.training.drawings import laid_on, white
from impasto.training.plans import Stage
from impasto.weights import files

CONCEPTS = ("fox", "owl", "red-apple", "house")


def plan(steps: int = 6, **choices: object) -> JudgePlan:
    small = {
        "stages": [Stage(size=16, batch=8, steps=steps)],
        "widths": (16, 32),
        "blocks": (1, 1),
        "near": (16,),
        "native": 32,
        "styles": ("aa", "bb"),
        "select": {"concepts": CONCEPTS},
        "checkpoint_every": 2,
    }
    return lessons.default_plan(steps, **(small | choices))


@pytest.fixture(scope="module")
def rows(corpus: Path) -> Lessons:
    return lessons.load(Corpus.open(corpus), plan())


def trained(wanted: JudgePlan, rows: Lessons, path: Path) -> judge.Judge:
    for _ in judge.train(wanted, rows, path):
        pass
    return judge.load(path)


def test_learns_what_drawings_show_and_in_whose_style(rows: Lessons, tmp_path: Path) -> None:
    still = {"rotation": 0, "shift": 0, "scales": (1, 1), "tint": 0, "blurred": 0, "ema": 0.5}
    found = trained(plan(60, **still), rows, tmp_path / "judge.safetensors")
    concepts = judge.concept_accuracy(found, rows.concepts.train)
    assert concepts["concept_r1"] > 0.7
    assert concepts["concept_r5"] == 1
    assert judge.style_accuracy(found, rows.styles.train)["style_r1"] > 0.7


def test_the_same_seed_gives_the_same_judge_and_another_seed_another(rows: Lessons, tmp_path: Path) -> None:
    one, same = (trained(plan(), rows, tmp_path / name).digest for name in ("one", "same"))
    assert one == same != trained(plan(seed=1), rows, tmp_path / "other").digest


def test_a_training_that_was_stopped_goes_on(rows: Lessons, tmp_path: Path) -> None:
    whole = trained(plan(), rows, tmp_path / "whole").digest
    begun = judge.train(plan(), rows, tmp_path / "stopped")
    for tick in begun:
        if tick.progress.step == 4:
            break
    begun.close()
    assert trained(plan(), rows, tmp_path / "stopped").digest == whole


def test_a_judge_that_is_there_is_kept(rows: Lessons, tmp_path: Path) -> None:
    trained(plan(), rows, tmp_path / "judge")
    assert list(judge.train(plan(), rows, tmp_path / "judge")) == []
    with pytest.raises(StateMismatch, match="another output folder"):
        list(judge.train(plan(8), rows, tmp_path / "judge"))


def test_the_file_says_what_it_was_made_from(rows: Lessons, tmp_path: Path) -> None:
    trained(plan(), rows, tmp_path / "judge")
    about = files.load(tmp_path / "judge").metadata
    assert about["concept_rows"] == rows.concepts.use.selection
    assert about["style_rows"] == rows.styles.use.selection
    assert about["corpus"] == rows.concepts.use.root
    assert JudgePlan.parse(json.loads(about["plan"]), "it") == plan()
    assert 0 <= json.loads(about["held_out"])["concept_r1"] <= 1


def test_other_files_are_no_judges(tmp_path: Path) -> None:
    files.save(tmp_path / "x", {"a": torch.zeros(1)})
    with pytest.raises(InvalidInput, match="not a judge"):
        judge.load(tmp_path / "x")


def test_unmoved_drawings_on_white_are_what_the_judge_is_asked_about(rows: Lessons) -> None:
    still = plan(rotation=0, shift=0, scales=(1, 1), tint=0, blurred=0, backgrounds={"white": 1})
    images = rows.concepts.train.images
    pictures = lessons.wholes(still, lessons.small(images, 16), torch.Generator().manual_seed(0))
    expected = resized(laid_on(images, white(len(images))), 16)
    apart = [(side - expected).abs().amax((1, 2, 3)) for side in (pictures, pictures.flip(-1))]
    assert torch.minimum(*apart).max() < 0.03  # 8-bit rounding, twice


def test_pieces_are_cut_out_of_drawings_in_full_size(rows: Lessons) -> None:
    still = plan(tint=0, blurred=0, backgrounds={"white": 1})
    images = rows.styles.train.images
    cut = lessons.pieces(still, images, torch.Generator().manual_seed(0))
    whole = laid_on(images, white(len(images)))
    windows = (
        torch.cat([whole, whole.flip(-1)]).unfold(2, 16, 1).unfold(3, 16, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    )
    assert torch.cdist(cut.flatten(1), windows.flatten(1)).amin(1).max() < 1e-2


def test_five_pieces_are_the_corners_and_the_middle() -> None:
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    assert lessons.five(picture, 2)[0, :, 0, 0, 0].tolist() == [0, 2, 8, 10, 5]


def test_styles_are_learned_from_whatever_their_collections_draw(rows: Lessons) -> None:
    assert {row.source.collection for row in rows.styles.train.rows} == {"aa", "bb"}
    assert {row.source.collection for row in rows.concepts.train.rows} == {"aa", "bb", "cc"}
    assert {row.split for row in (*rows.styles.train.rows, *rows.concepts.train.rows)} == {"train"}


def test_features_have_length_one() -> None:
    network = opinions.JudgeNetwork((8, 16), (1, 1), (8,), (4, 2))
    said = network.opinion(torch.randn(3, 3, 16, 16), torch.randn(3, 5, 3, 16, 16))
    assert said.features.shape == (3, 24)
    assert said.features.norm(dim=1).tolist() == pytest.approx([1, 1, 1])


def test_ranks_count_what_is_higher() -> None:
    scores = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]])
    assert opinions.ranks(scores, torch.tensor([1, 0])).tolist() == [0, 2]


def test_the_published_judge_is_small() -> None:
    wanted = lessons.default_plan(styles=tuple("abcdefgh"))
    network = opinions.JudgeNetwork(wanted.widths, wanted.blocks, wanted.near, (390, 8))
    assert 1e6 < sum(p.numel() for p in network.parameters()) < 2.5e6
