"""What a model was made from, over the API: receipt, makers, licences, consent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from impasto.corpus.build import build
from impasto.corpus.store import Corpus
from impasto.errors import InvalidInput
from impasto.receipt import CorpusUse, Parent, PlanUse, Receipt
from impasto.server.models import Shelf
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
        collection(prefix, {"fox": shape(k, "red"), "owl": shape(10 + k, "blue")})
        for k, prefix in enumerate(("aa", "bb"))
    ]
    tarball = folder / "icons.tgz"
    recipe = plan(folder, package(tarball, *sets), sections("aa", "bb"), "")
    for _ in build(recipe, folder / "corpus", tarball, workers=1):
        pass
    corpus = Corpus.open(folder / "corpus")
    captions = {"styles": {"aa": "soft"}, "templates": ("{caption}", "{caption}, {style} style")}
    said = {"name": "tiny", "model": "glyph", "stages": [{"size": 128, "batch": 1, "steps": 1}]}
    told = ModelPlan.model_validate({**said, "captions": captions, "sample_prompts": ["a fox"]})
    use = CorpusUse(root=corpus.root, selection=corpus.root, rows=len(corpus.rows), policy=corpus.policy.digest)
    receipt = Receipt(
        kind="base",
        name="tiny",
        code="test",
        licence="Apache-2.0",
        corpora=(use,),
        plans={"model": PlanUse.of(told.plain())},
        parents=(Parent(name="eye", identity=DIGEST, role="autoencoder"),),
    )
    model = folder / "model"
    save_folder(model, tiny.networks(), About(name="tiny"), receipt=receipt)
    (model / "corpus").mkdir()
    for name in MANIFEST:
        shutil.copyfile(folder / "corpus" / name, model / "corpus" / name)
    return model, corpus


def test_the_makers_behind_a_model_are_told(trained: tuple[Path, Corpus]) -> None:
    path, corpus = trained
    offered = Shelf([str(path)]).default
    assert (offered.info.has_corpus, offered.info.licence) == (True, "Apache-2.0")
    assert offered.info.examples == ("a fox",)
    assert [(style.name, style.prompt) for style in offered.info.styles] == [("soft", "{prompt}, soft style")]
    told = offered.origin
    assert told["receipt"]["identity"] == offered.info.digest
    assert told["parents"] == [{"name": "eye", "identity": DIGEST, "role": "autoencoder"}]
    assert (told["corpus"]["root"], told["corpus"]["rows"]) == (corpus.root, len(corpus.rows))
    assert sum(maker["rows"] for maker in told["corpus"]["makers"]) == len(corpus.rows)
    assert sum(each["rows"] for each in told["corpus"]["licences"]) == len(corpus.rows)
    for maker in told["corpus"]["makers"]:
        assert sum(maker["consent"].values()) == sum(maker["collections"].values()) == maker["rows"]
        assert maker["licences"]


def test_a_damaged_manifest_is_told_without_paths(trained: tuple[Path, Corpus], tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained[0], model)
    (model / "corpus" / "rows.parquet").write_bytes(b"no rows")
    with pytest.raises(InvalidInput, match="damaged") as refused:
        _ = Shelf([str(model)]).default.origin
    assert str(tmp_path) not in str(refused.value)
