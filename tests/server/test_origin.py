"""What a model was made from, over the API: receipt, makers, licences, consent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from impasto.corpus.build import build
from impasto.corpus.record import Row
from impasto.corpus.store import Corpus, root_of
from impasto.errors import InvalidInput
from impasto.receipt import CorpusUse, Parent, PlanUse, Receipt
from impasto.server.models import Shelf
from impasto.server.origin import origin
from impasto.training.plans import ModelPlan
from impasto.weights.checkpoint import About
from impasto.weights.load import save_folder
from tests.corpus.icons import collection, package, plan, sections, shape
from tests.weights import tiny

DIGEST = "sha256:" + "1" * 64
MANIFEST = ("corpus.json", "plan.toml", "policy.toml", "rows.parquet", "refused.parquet")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    """A model beside the manifest of the corpus that its receipt names."""
    folder = tmp_path_factory.mktemp("trained")
    sets = [
        collection(prefix, {"fox": shape(k, "red"), "owl": shape(10 + k, "blue"), "cat": shape(20 + k, "green")})
        for k, prefix in enumerate(("aa", "bb", "cc"))
    ]
    tarball = folder / "icons.tgz"
    held = '[held_out]\nshare = 0.2\nothers = 1\nseed = "s"\n'
    recipe = plan(folder, package(tarball, *sets), sections("aa", "bb", "cc"), held)
    for _ in build(recipe, folder / "corpus", tarball, workers=1):
        pass
    corpus = Corpus.open(folder / "corpus")
    captions = {"styles": {"aa": "soft"}, "templates": ("{caption}", "{caption}, {style} style")}
    said = {"name": "tiny", "model": "glyph", "stages": [{"size": 128, "batch": 1, "steps": 1}]}
    select = {"collections": ["aa", "bb"], "concepts": ["fox", "owl"]}
    told = ModelPlan.model_validate({**said, "select": select, "captions": captions, "sample_prompts": ["a fox"]})
    networks = tiny.networks()
    story = {"kind": "base", "code": "test", "licence": "Apache-2.0"}
    of_all = use(corpus, learned(corpus))
    eye = Receipt(name="eye", identity=DIGEST, corpora=(of_all,), **story)
    receipt = Receipt(
        name="tiny",
        corpora=(of_all, use(corpus, learned(corpus, "aa", "bb"))),
        plans={"model": PlanUse.of(told.plain())},
        parents=(Parent(name="eye", identity=DIGEST, role="autoencoder"),),
        **story,
    )
    model = folder / "model"
    notices = {"vae/receipt.json": eye.canonical().decode()}
    save_folder(model, networks, About(name="tiny"), receipt=receipt, notices=notices)
    (model / "corpus").mkdir()
    for name in MANIFEST:
        shutil.copyfile(folder / "corpus" / name, model / "corpus" / name)
    return model, corpus


def learned(corpus: Corpus, *collections: str) -> list[Row]:
    """Return the rows that are learned from: of foxes and owls in `collections`, or where none are named of all."""
    train = [row for row in corpus.rows if row.split == "train"]
    return [
        row
        for row in train
        if not collections or (row.source.collection in collections and row.concept in ("fox", "owl"))
    ]


def use(corpus: Corpus, rows: list[Row]) -> CorpusUse:
    return CorpusUse(root=corpus.root, selection=root_of(rows), rows=len(rows), policy=corpus.policy.digest)


def test_the_makers_behind_a_model_are_told(trained: tuple[Path, Corpus]) -> None:
    """Of the works that it learned from: one is held out, and no plan is asked what the receipt does not confirm."""
    path, corpus = trained
    rows = learned(corpus)
    offered = Shelf([str(path)]).default
    assert (offered.info.has_corpus, offered.info.licence) == (True, "Apache-2.0")
    assert offered.info.examples == ("a fox",)
    assert [(style.name, style.prompt) for style in offered.info.styles] == [("soft", "{prompt}, soft style")]
    told = offered.origin
    assert told["receipt"]["identity"] == offered.info.digest
    assert told["parents"] == [{"name": "eye", "identity": DIGEST, "role": "autoencoder"}]
    found = told["corpus"]
    assert (found["root"], found["learned"], found["rows"]) == (corpus.root, True, len(rows))
    assert (found["kept"], found["held_out"]) == (len(corpus.rows), len(corpus.rows) - len(rows))
    assert found["held_out"] > 0
    assert sum(maker["rows"] for maker in found["makers"]) == len(rows)
    assert sum(each["rows"] for each in found["licences"]) == len(rows)
    for maker in found["makers"]:
        assert sum(maker["consent"].values()) == sum(maker["collections"].values()) == maker["rows"]
        assert maker["licences"]


def test_only_the_works_that_its_plan_chose_are_told(trained: tuple[Path, Corpus]) -> None:
    path, corpus = trained
    rows = learned(corpus, "aa", "bb")
    receipt = Shelf([str(path)]).default.checkpoint.receipt
    assert receipt
    whole = origin(receipt, path)["corpus"]
    of_parts = {each["part"]: each["rows"] for each in whole["uses"]}
    assert of_parts == {"vae": len(learned(corpus)), None: len(rows)}
    found = origin(receipt.model_copy(update={"corpora": receipt.corpora[1:]}), path)["corpus"]
    assert (found["rows"], found["learned"]) == (len(rows), True)
    assert {name for maker in found["makers"] for name in maker["collections"]} == {"aa", "bb"}
    assert 0 < len(rows) < len(learned(corpus)) < len(corpus.rows)


def test_where_the_choice_cannot_be_made_again_the_whole_corpus_is_told(trained: tuple[Path, Corpus]) -> None:
    """As of an earlier version's plan: too many are credited rather than too few, and it is said."""
    path, corpus = trained
    receipt = Shelf([str(path)]).default.checkpoint.receipt
    assert receipt
    found = origin(receipt.model_copy(update={"plans": {}}), path)["corpus"]
    assert (found["rows"], found["learned"]) == (len(corpus.rows), False)
    assert sum(maker["rows"] for maker in found["makers"]) == len(corpus.rows)


def test_it_is_looked_up_once_while_nothing_changes(
    trained: tuple[Path, Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("impasto.weights.facts.SETTLED", 0)
    model = tmp_path / "model"
    shutil.copytree(trained[0], model)
    receipt = Shelf([str(model)]).default.checkpoint.receipt
    assert receipt
    first = origin(receipt, model)
    with monkeypatch.context() as without:
        without.setattr("impasto.server.origin.Corpus", None)
        assert origin(receipt, model) == first
        with pytest.raises(AttributeError):
            origin(receipt.model_copy(update={"plans": {}}), model)
    (model / "corpus" / "rows.parquet").unlink()
    with pytest.raises(InvalidInput, match="damaged"):
        origin(receipt, model)


def test_a_damaged_manifest_is_told_without_paths(trained: tuple[Path, Corpus], tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained[0], model)
    (model / "corpus" / "rows.parquet").write_bytes(b"no rows")
    with pytest.raises(InvalidInput, match="damaged") as refused:
        _ = Shelf([str(model)]).default.origin
    assert str(tmp_path) not in str(refused.value)
