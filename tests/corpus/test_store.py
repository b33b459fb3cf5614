from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from impasto.corpus import merkle
from impasto.corpus.store import Corpus
from impasto.errors import CorpusChanged, NotFound

Table = list[dict[str, Any]]


def edit(file: Path, change: Callable[[Table], Table]) -> None:
    table = pq.read_table(file)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), file)


def with_first(**changes: Any) -> Callable[[Table], Table]:
    return lambda rows: [{**rows[0], **changes}, *rows[1:]]


def images(folder: Path) -> Path:
    return folder / "images" / "00000.parquet"


TAMPERED: dict[str, tuple[str, Callable[[Table], Table], str]] = {
    "caption changed": ("rows.parquet", with_first(caption="wolf"), "does not fit the hash beside it"),
    "maker changed": ("rows.parquet", with_first(maker="Mallory"), "does not fit the hash beside it"),
    "split changed": (
        "rows.parquet",
        lambda rows: [{**row, "split": "train"} for row in rows],
        "does not fit the hash beside it",
    ),
    "row missing": ("rows.parquet", lambda rows: rows[1:], "has 15 rows"),
    "row added": ("rows.parquet", lambda rows: [*rows, {**rows[0], "key": "new"}], "has 17 rows"),
    "row doubled": ("rows.parquet", lambda rows: [*rows, rows[0]], "is there twice"),
    "refusal missing": ("refused.parquet", lambda rows: rows[1:], "refused.parquet has 4 rows"),
    "refusal changed": ("refused.parquet", with_first(reason="fine"), "the refused works have root"),
    "image changed": ("images/00000.parquet", with_first(data=b"PNG"), "was changed"),
    "image missing": ("images/00000.parquet", lambda rows: rows[1:], "is missing"),
    "image added": (
        "images/00000.parquet",
        lambda rows: [*rows, {"id": "sha256:ff", "data": b""}],
        "belongs to no row",
    ),
    "image doubled": ("images/00000.parquet", lambda rows: [*rows, rows[0]], "is there twice"),
    "images swapped": (
        "images/00000.parquet",
        lambda rows: [{**rows[0], "data": rows[1]["data"]}, {**rows[1], "data": rows[0]["data"]}, *rows[2:]],
        "was changed",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampering_is_found(tiny: Path, case: str) -> None:
    file, change, words = TAMPERED[case]
    edit(tiny / file, change)
    problems = Corpus.open(tiny).verify()
    assert any(words in problem for problem in problems), problems


def test_a_consistent_forgery_changes_the_root(tiny: Path) -> None:
    corpus = Corpus.open(tiny)
    forged = corpus.rows[0].model_copy(update={"concept": "wolf"})
    edit(tiny / "rows.parquet", with_first(concept="wolf", leaf=merkle.leaf_hash(forged.leaf())))
    problems = Corpus.open(tiny).verify()
    assert len(problems) == 1
    assert f"corpus.json says {corpus.root}" in problems[0]


def test_another_policy_is_found(tiny: Path) -> None:
    policy = tiny / "policy.toml"
    policy.write_text(policy.read_text().replace('"MIT", ', ""))
    problems = Corpus.open(tiny).verify()
    assert "policy.toml has digest" in problems[0]
    assert sum("is not admitted: Licence MIT" in problem for problem in problems) == 16


@pytest.mark.parametrize("file", ["rows.parquet", "refused.parquet", "corpus.json", "images/00000.parquet"])
def test_a_file_that_is_damaged_is_named(tiny: Path, file: str) -> None:
    (tiny / file).write_bytes(b"PAR1 no")
    with pytest.raises(CorpusChanged, match=Path(file).name):
        Corpus.open(tiny).verify()


def test_a_row_that_is_none_is_named(tiny: Path) -> None:
    edit(tiny / "rows.parquet", with_first(consent="surely"))
    with pytest.raises(CorpusChanged, match=r"none \(aa:fox\)"):
        Corpus.open(tiny)


def test_images_and_rows_fit(tiny: Path) -> None:
    corpus = Corpus.open(tiny)
    for row in corpus.rows:
        assert corpus.image(row).size == (32, 32)
        assert corpus.image(row).mode == "RGBA"
        assert len(corpus.image_bytes(row)) == row.image.bytes


def test_an_image_that_was_changed_is_not_handed_out(tiny: Path) -> None:
    edit(images(tiny), with_first(data=b"PNG"))
    corpus = Corpus.open(tiny)
    with pytest.raises(CorpusChanged, match="not the one its row names"):
        corpus.image(corpus.rows[0])


def test_the_manifest_opens_without_images(tiny: Path) -> None:
    shutil.rmtree(tiny / "images")
    corpus = Corpus.open(tiny)
    assert not corpus.has_images
    assert corpus.verify() == []
    with pytest.raises(CorpusChanged, match="No image"):
        corpus.image(corpus.rows[0])


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="impasto corpus build"):
        Corpus.open(tmp_path)


def test_a_subset_has_its_own_root(tiny: Path) -> None:
    corpus = Corpus.open(tiny)
    some = corpus.subset(lambda row: row.source.collection == "aa")
    assert len(some.rows) == some.manifest.rows == 4
    assert some.root == some.manifest.root != corpus.root
    assert corpus.subset(lambda _: True).root == corpus.root
    assert some.image(some.rows[0]).size == (32, 32)


def test_the_root_does_not_depend_on_the_order(tiny: Path) -> None:
    root = Corpus.open(tiny).root
    edit(tiny / "rows.parquet", lambda rows: rows[::-1])
    assert Corpus.open(tiny).root == root


def test_a_row_is_proved_to_be_in_it(tiny: Path) -> None:
    corpus = Corpus.open(tiny)
    row = corpus.find("bb:owl")
    proof = corpus.prove(row)
    assert proof.root == corpus.manifest.root
    assert merkle.verify(proof, merkle.leaf_hash(row.leaf()))
    assert corpus.find(row.id) == corpus.find(row.id[7:20]) == row
    with pytest.raises(NotFound, match="0 rows fit"):
        corpus.find("zz:owl")


def test_parquet_can_be_read_without_impasto(tiny: Path) -> None:
    table = pq.read_table(tiny / "rows.parquet")
    first = table.to_pylist()[0]
    assert (first["collection"], first["key"], first["maker"], first["licence"]) == ("aa", "fox", "Maker of aa", "MIT")
    manifest = json.loads((tiny / "corpus.json").read_text())
    assert manifest["rows"] == table.num_rows
