from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from impasto.corpus import merkle
from impasto.corpus.concepts import read_concepts
from impasto.corpus.dataset import load
from impasto.corpus.policy import Policy
from impasto.corpus.store import Corpus
from impasto.errors import CorpusChanged, CorpusError, NotFound, RowRefused
from tests.corpus.test_store import edit, images, with_first


def test_all_rows_of_a_split(tiny: Path) -> None:
    corpus = Corpus.open(tiny)
    train, held = load(corpus), load(corpus, "held-out")
    assert len(train.rows) + len(held.rows) == 16
    assert {row.split for row in train.rows} == {"train"}
    assert {row.split for row in held.rows} == {"held-out"}
    assert train.images.shape == (len(train.rows), 4, 32, 32)
    assert train.images.dtype == torch.uint8
    assert train.captions == [row.caption.text for row in train.rows]
    for row, image in zip(train.rows, train.images, strict=True):
        assert (image.permute(1, 2, 0).numpy() == np.asarray(corpus.image(row))).all()


def test_only_some_concepts_and_collections(tiny: Path) -> None:
    corpus = Corpus.open(tiny)
    some = load(corpus, concepts=("fox", "owl"), collections=("aa", "bb"))
    assert some.rows
    assert all(row.concept in ("fox", "owl") and row.source.collection in ("aa", "bb") for row in some.rows)
    with pytest.raises(NotFound, match="Choose one of: aa, bb, cc, dd"):
        load(corpus, collections=("zz",))
    with pytest.raises(CorpusError, match="No rows"):
        load(corpus, concepts=())


def forge(folder: Path, **changes: str) -> None:
    """Change the first row in `rows.parquet` and everything that vouches for it."""
    edit(folder / "rows.parquet", with_first(**changes))
    corpus = Corpus.open(folder)
    edit(folder / "rows.parquet", with_first(leaf=merkle.leaf_hash(corpus.rows[0].leaf())))
    manifest = corpus.manifest.model_copy(update={"root": corpus.root})
    (folder / "corpus.json").write_bytes(manifest.canonical())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"licence": "CC-BY-SA-4.0"}, "share-alike"),
        ({"licence": "LicenseRef-mine"}, "LicenseRef-mine"),
        ({"consent": "unknown"}, "Consent basis 'unknown'"),
        ({"key": "flag-x"}, "A flag"),
    ],
)
def test_a_forged_row_is_refused_though_everything_vouches_for_it(
    tiny: Path, changes: dict[str, str], words: str
) -> None:
    forge(tiny, **changes)
    with pytest.raises(RowRefused, match=words) as caught:
        load(Corpus.open(tiny))
    assert Corpus.open(tiny).rows[0].key in str(caught.value)


def test_a_stricter_policy_than_the_corpus_own(tiny: Path) -> None:
    policy = Corpus.open(tiny).policy.model_copy(update={"licences": ("CC0-1.0",)})
    assert isinstance(policy, Policy)
    with pytest.raises(RowRefused, match="aa:fox"):
        load(Corpus.open(tiny), policy=policy)


def test_rows_that_do_not_have_the_root_are_refused(tiny: Path) -> None:
    edit(tiny / "rows.parquet", lambda rows: [{**row, "split": "train"} for row in rows])
    with pytest.raises(CorpusChanged, match=r"has root|have root"):
        load(Corpus.open(tiny))


def test_a_changed_image_is_refused(tiny: Path) -> None:
    edit(images(tiny), lambda rows: [{**row, "data": rows[0]["data"]} for row in rows])
    with pytest.raises(CorpusChanged, match="not the one its row names"):
        load(Corpus.open(tiny))


def test_a_subset_loads(tiny: Path) -> None:
    some = Corpus.open(tiny).subset(lambda row: row.source.collection == "cc")
    assert len(load(some).rows) == sum(row.split == "train" for row in some.rows)


def test_concepts_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "concepts.txt"
    file.write_text("# things\nfox\n\nred-apple  # a fruit\nfox\n")
    assert read_concepts(file) == ("fox", "red-apple")
    with pytest.raises(NotFound, match=r"none\.txt"):
        read_concepts(tmp_path / "none.txt")
