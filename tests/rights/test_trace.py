from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from impasto.corpus import store
from impasto.corpus.record import Row
from impasto.corpus.store import Corpus
from impasto.errors import CorpusError, InvalidInput, NotFound
from impasto.pipeline import Model
from impasto.receipt import CorpusUse, PlanUse, Receipt
from impasto.release import kit
from impasto.rights import artefacts
from impasto.rights import works as indexes
from impasto.rights.likeness import Likeness, laid_plain, tiled_distance
from impasto.rights.trace import sheet, trace
from impasto.rights.works import Works, build, learned
from impasto.weights.checkpoint import About
from impasto.weights.detect import open_model
from impasto.weights.load import save_folder
from tests.rights.drawings import corpus_of, drawing, ground
from tests.weights import tiny


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return Model(tiny.networks(), About(name="tiny"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus") / "shapes"
    corpus_of(folder, train=range(60), held_out=range(60, 100))
    return Corpus.open(folder)


@pytest.fixture(autouse=True, scope="module")
def few_are_enough() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexes, "LEAST_NULL_ROWS", 40)
        yield


@pytest.fixture(scope="module")
def works(model: Model, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Works:
    return finished(build(corpus, model, tmp_path_factory.mktemp("index") / "works"))


def finished(making: Iterator[indexes.Indexing]) -> Works:
    try:
        while True:
            next(making)
    except StopIteration as end:
        made: Works = end.value
        return made


def _made(works: Works) -> Generator[indexes.Indexing, None, Works]:
    yield indexes.Indexing(1, 1)
    return works


def row_of(corpus: Corpus, number: int) -> Row:
    return corpus.find(f"shapes:shape-{number}")


def test_every_planted_copy_is_found_and_named(model: Model, corpus: Corpus, works: Works) -> None:
    likeness = Likeness(model)
    for number in range(0, 60, 5):
        copy = ground(corpus.image(row_of(corpus, number)), "white")
        nearest = works.nearest(likeness, copy, 3)
        assert nearest[0].row == row_of(corpus, number)
        assert nearest[0].near_copy
        assert nearest[0].distance < 0.01


@pytest.mark.parametrize("change", ["mirrored", "on blue", "twice as large", "jpeg"])
def test_a_copy_stays_one_when_it_is(change: str, model: Model, corpus: Corpus, works: Works, tmp_path: Path) -> None:
    copy = ground(corpus.image(row_of(corpus, 7)), "#2266dd" if change == "on blue" else "white")
    if change == "mirrored":
        copy = copy.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if change == "twice as large":
        copy = copy.resize((copy.width * 2, copy.height * 2), Image.Resampling.BICUBIC)
    if change == "jpeg":
        copy.save(tmp_path / "copy.jpg", quality=75)
        copy = Image.open(tmp_path / "copy.jpg")
    first = works.nearest(Likeness(model), copy, 1)[0]
    assert first.row == row_of(corpus, 7)
    assert first.near_copy
    assert first.mirrored is (change == "mirrored")


def test_pictures_that_nothing_was_learned_from_are_rarely_called_near_copies(model: Model, works: Works) -> None:
    assert works.facts.null == 40
    assert works.facts.null_from == "held-out rows"
    likeness = Likeness(model)
    others = [ground(drawing(seed), "white") for seed in range(1000, 1020)]
    flagged = [other for other in others if works.nearest(likeness, other, 1)[0].near_copy]
    assert len(flagged) <= 1


def test_without_held_out_rows_the_threshold_comes_from_other_concepts(model: Model, tmp_path: Path) -> None:
    corpus_of(tmp_path / "shapes", train=range(12), held_out=range(0))
    made = finished(build(Corpus.open(tmp_path / "shapes"), model, tmp_path / "works"))
    assert made.facts.null == 12
    assert "without their own concept" in made.facts.null_from
    assert 0 < made.facts.threshold < 1


def test_the_same_corpus_gives_the_same_index(model: Model, tmp_path: Path) -> None:
    corpus_of(tmp_path / "shapes", train=range(9), held_out=range(0))
    first, again = (
        finished(build(Corpus.open(tmp_path / "shapes"), model, tmp_path / name)) for name in ("first", "again")
    )
    for name in ("index.json", "vectors.safetensors", "shape.usearch", "rows.parquet"):
        assert (again.folder / name).read_bytes() == (first.folder / name).read_bytes(), name


def test_manner_finds_works_drawn_alike(model: Model, corpus: Corpus, works: Works) -> None:
    found = works.alike_in_manner(Likeness(model), ground(corpus.image(row_of(corpus, 3)), "white"), 5)
    assert found[0] == row_of(corpus, 3)
    assert len({row.key for row in found}) == 5


def test_an_index_is_whole_or_not_there(model: Model, corpus: Corpus, tmp_path: Path) -> None:
    making = build(corpus, model, tmp_path / "works")
    next(making)
    making.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFound, match=r"index\.json"):
        Works(tmp_path / "works")


def test_a_corpus_without_images_is_refused(model: Model, tmp_path: Path) -> None:
    corpus_of(tmp_path / "shapes", train=range(3), held_out=range(0))
    for file in (tmp_path / "shapes" / "images").iterdir():
        file.unlink()
    (tmp_path / "shapes" / "images").rmdir()
    with pytest.raises(CorpusError, match="no images"):
        finished(build(Corpus.open(tmp_path / "shapes"), model, tmp_path / "works"))


def test_rows_are_read_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_SHARD", 16)
    corpus_of(tmp_path / "shapes", train=range(40), held_out=range(0))
    rows = store.RowFile(tmp_path / "shapes" / "rows.parquet")
    assert len(rows) == 40
    assert list(rows) == list(Corpus.open(tmp_path / "shapes").rows)
    assert rows[17].key == "shapes:shape-17"
    assert [row.key for row in rows[15:18]] == ["shapes:shape-15", "shapes:shape-16", "shapes:shape-17"]
    with pytest.raises(IndexError):
        rows[40]


def test_the_distance_is_that_of_the_worst_tile() -> None:
    x = torch.zeros(2, 4, 8, 8)
    y = x.clone()
    y[1, :, 0:4, 0:4] = 3.0
    assert tiled_distance(x, y).tolist() == [0.0, 3.0]
    y[1, :, 0:4, 0:4] = 0.0
    y[1, 0, 5, 5] = 8.0  # one value in 4 channels of a tile of 16 places
    assert tiled_distance(x, y)[1].item() == pytest.approx(8 / (4 * 16) ** 0.5)


def test_what_a_drawing_is_laid_on_is_taken_away() -> None:
    image = drawing(1)
    white, blue = (np.asarray(laid_plain(ground(image, name), 32), float) for name in ("white", "#1133cc"))
    assert np.abs(white - blue).mean() < 6
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    assert np.array_equal(np.asarray(laid_plain(noisy, 32)), np.asarray(noisy))


def test_the_sheet_names_makers_and_near_copies(model: Model, corpus: Corpus, works: Works) -> None:
    found = trace(ground(corpus.image(row_of(corpus, 9)), "white"), works, Likeness(model))
    assert [match.row for match in found.near_copies] == [row_of(corpus, 9)]
    assert min(sheet(found, "copy.png").size) > 400


def test_the_command_says_whose_work_it_is(
    model: Model,
    corpus: Corpus,
    works: Works,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from impasto.cli import main
    from impasto.cli import trace as command

    monkeypatch.setattr(command, "load", lambda *_: model)
    monkeypatch.setattr(indexes, "build", lambda *_: _made(works))
    ground(corpus.image(row_of(corpus, 4)), "white").save(tmp_path / "copy.png")
    words = ["trace", str(tmp_path / "copy.png"), "--corpus", str(corpus.folder), "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["caveat"] == "similar, not proven source"
    assert said["shape"][0]["near_copy"] is True
    assert said["shape"][0]["row"]["maker"]["name"] == row_of(corpus, 4).maker.name
    assert main([*words[:-1], "--sheet", str(tmp_path / "sheet.png")]) == 0
    out = capsys.readouterr().out
    assert "near copy" in out
    assert row_of(corpus, 4).maker.name in out
    assert (tmp_path / "sheet.png").is_file()


def of_the(corpus: Corpus, folder: Path, prediction: str = "epsilon") -> Path:
    """Write a model whose UNet learned from the odd concepts of `corpus`, and its autoencoder from all."""
    concepts = [row.concept for row in corpus.rows if row.split == "train" and int(row.source.key[6:]) % 2]
    odd = corpus.subset(lambda row: row.split == "train" and row.concept in concepts)
    train = corpus.subset(lambda row: row.split == "train")
    uses = [
        CorpusUse(root=corpus.root, selection=one.root, rows=len(one.rows), policy=corpus.manifest.policy)
        for one in (train, odd)
    ]
    plans = {
        "autoencoder": PlanUse.of({"kind": "autoencoder", "select": {"concepts": [], "collections": []}}),
        "model": PlanUse.of({"kind": "model", "select": {"concepts": concepts, "collections": ["shapes"]}}),
    }
    receipt = Receipt(kind="base", name="odd", corpora=tuple(uses), plans=plans, code="impasto 0")
    save_folder(folder, tiny.networks(prediction), About(name="odd"), receipt=receipt)
    return folder


def test_a_model_with_its_own_index_needs_no_corpus(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from impasto.cli import main

    made = of_the(corpus, tmp_path / "odd")
    ground(corpus.image(row_of(corpus, 5)), "white").save(tmp_path / "copy.png")
    trace_it = ["trace", str(tmp_path / "copy.png"), "--model", str(made)]
    assert main(trace_it) == 2
    told = capsys.readouterr().err
    assert corpus.root in told.replace("\n", "")
    assert "impasto trace index CORPUS" in told.replace("\n", " ")
    assert main(["trace", "index", str(corpus.folder), "--model", str(made)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("works: 30 works")
    assert main(trace_it) == 0
    assert "copy.png is a near copy of shapes:shape-5 by Maker 0, CC0-1.0" in capsys.readouterr().out
    own = Works(made / "works")
    assert own.facts.selection == learned(corpus, open_model(made).receipt).root
    assert {int(row.source.key[6:]) % 2 for row in own.rows} == {1}
    works = {one.about: one.state for one in artefacts.verify(made).findings}
    assert works["works"] == "holds"
    store.write_rows(made / "works" / "rows.parquet", corpus.rows[:30])
    changed = [one.text for one in artefacts.verify(made).of("changed")]
    assert changed == ["Its index of works is not of the rows that it learned from."]


def test_the_index_goes_where_a_released_model_goes(corpus: Corpus, works: Works, tmp_path: Path) -> None:
    checkpoint = open_model(of_the(corpus, tmp_path / "odd"))
    shutil.copytree(works.folder, tmp_path / "odd" / "works")
    finished = SimpleNamespace(identity=works.facts.model_digest)
    subject: Any = SimpleNamespace(path=tmp_path / "odd", receipt=checkpoint.receipt, finished=finished)
    (tmp_path / "out").mkdir()
    kit._works(subject, tmp_path / "out")
    assert Works(tmp_path / "out" / "works").facts == works.facts
    finished.identity = checkpoint.digest[:-1] + ("0" if checkpoint.digest[-1] != "0" else "1")
    with pytest.raises(InvalidInput, match="is not of this model and its corpus"):
        kit._works(subject, tmp_path / "again")


def test_an_index_of_another_model_or_corpus_is_refused(
    corpus: Corpus, works: Works, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from impasto.cli import main

    made = of_the(corpus, tmp_path / "odd", "v_prediction")
    shutil.copytree(works.folder, made / "works")
    drawing(5).save(tmp_path / "picture.png")
    assert main(["trace", str(tmp_path / "picture.png"), "--model", str(made)]) == 2
    assert "was made with the model" in capsys.readouterr().err
    corpus_of(tmp_path / "others", train=range(200, 205), held_out=range(0))
    assert main(["trace", "index", str(tmp_path / "others"), "--model", str(made)]) == 2
    assert corpus.root in capsys.readouterr().err.replace("\n", "")


def test_rows_that_no_root_of_the_receipt_has_are_not_taken_for_what_was_learned(corpus: Corpus) -> None:
    plan = PlanUse.of({"kind": "model", "select": {"concepts": ["shape-1"]}})
    train = corpus.subset(lambda row: row.split == "train")
    use = CorpusUse(root=corpus.root, selection=train.root, rows=60, policy=corpus.manifest.policy)
    receipt = Receipt(kind="base", name="x", corpora=(use,), plans={"model": plan}, code="impasto 0")
    assert learned(corpus, receipt).root == learned(corpus, None).root == train.root
