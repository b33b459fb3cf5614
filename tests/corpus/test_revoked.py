from __future__ import annotations

from pathlib import Path

import pytest

from impasto.cli import main
from impasto.corpus import dataset, revoked
from impasto.corpus.store import REVOKED, Corpus
from impasto.errors import CorpusChanged, NotFound, RowRefused

WHY = ["--reason", "The maker asked.", "--evidence", "letter of 2026-01-01"]


def forget(folder: Path, *which: str) -> int:
    return main(["corpus", "forget", str(folder), *which, *WHY])


def test_training_refuses_what_is_revoked(tiny: Path, tmp_path: Path) -> None:
    root = Corpus.open(tiny).root
    assert forget(tiny, "--row", "aa:fox") == 0
    corpus = Corpus.open(tiny)
    assert corpus.root == root
    assert corpus.verify() == []
    with pytest.raises(RowRefused, match=r"aa:fox.*The maker asked.*letter"):
        dataset.load(corpus)
    assert main(["corpus", "without-revoked", str(tiny), "-o", str(tmp_path / "new")]) == 0
    left = Corpus.open(tmp_path / "new")
    assert left.verify() == []
    assert left.root != root
    assert [one.rule for one in left.refused].count("revoked") == 1
    assert len(dataset.load(left).rows) == sum(r.split == "train" and r.key != "aa:fox" for r in corpus.rows)


def test_who_and_what_is_meant(tiny: Path, tmp_path: Path) -> None:
    corpus = Corpus.open(tiny)
    row = corpus.find("bb:owl")
    corpus.image(row).resize((80, 80)).save(tmp_path / "copy.webp", quality=90)
    assert row in revoked.find(corpus, "image", str(tmp_path / "copy.webp"))
    assert row in revoked.find(corpus, "maker", row.maker.name.upper())
    assert row in revoked.find(corpus, "url", row.source.file)
    for asked, value in (("maker", "nobody"), ("url", "https://nowhere"), ("row", "x:y"), ("image", "/no/file")):
        with pytest.raises(NotFound):
            revoked.find(corpus, asked, value)


def test_a_mark_is_made_once_and_outlives_a_new_build(tiny: Path, tiny_plan: tuple[Path, Path]) -> None:
    from impasto.corpus.build import build

    assert forget(tiny, "--row", "aa:fox") == forget(tiny, "--row", "aa:fox") == 0
    assert len(revoked.read(tiny)) == 1
    for _ in build(tiny_plan[0], tiny, tiny_plan[1], workers=1):
        pass
    with pytest.raises(RowRefused, match="aa:fox"):
        dataset.load(Corpus.open(tiny))


def test_a_damaged_list_is_not_taken_for_none(tiny: Path) -> None:
    (tiny / REVOKED).write_text("{")
    with pytest.raises(CorpusChanged, match="cannot be told"):
        dataset.load(Corpus.open(tiny))


def test_one_thing_at_a_time(tiny: Path) -> None:
    assert forget(tiny, "--row", "aa:fox", "--maker", "Ada") != 0
    assert forget(tiny) != 0
