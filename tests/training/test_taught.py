from __future__ import annotations

import json
from pathlib import Path

import pytest

from impasto.corpus.statement import Statement
from impasto.corpus.store import root_of
from impasto.errors import CorpusError, InvalidInput
from impasto.training.plans import Selection
from impasto.training.taught import open_taught, rows_root, write_rows
from tests.training import teaching


def test_a_folder_becomes_rows_that_say_whose_they_are(tmp_path: Path) -> None:
    folder = teaching.pictures(tmp_path / "pictures")
    (folder / "metadata.csv").write_text("file_name,maker,licence,consent\np1.png,Bo,CC0-1.0,public-domain\n")
    taught = open_taught(folder, Statement.of(mine=True, licence="CC-BY-4.0", maker="Ada"), Selection(), 64)
    assert [row.source.key for row in taught.rows] == ["p0.png", "p1.png", "p2.png", "p3.png"], "a mask is no picture"
    assert [row.maker.name for row in taught.rows] == ["Ada", "Bo", "Ada", "Ada"]
    assert [row.consent.basis for row in taught.rows] == ["owner", "public-domain", "owner", "owner"]
    assert "the command line" in taught.rows[0].licence.evidence
    assert taught.rows[0].caption.text == "a fox, seen from the side"
    assert taught.use.bases == {"owner": 3, "public-domain": 1}
    mask = taught.mask(taught.rows[0])
    assert mask is not None
    assert mask.getpixel((0, 0)) == 255
    assert taught.mask(taught.rows[1]) is None


def test_the_rows_beside_a_result_have_the_root_that_its_receipt_names(tmp_path: Path) -> None:
    taught = open_taught(teaching.pictures(tmp_path / "pictures"), Statement(), Selection(), 64)
    write_rows(tmp_path / "rows.jsonl", taught.train)
    assert rows_root(tmp_path / "rows.jsonl") == taught.use.selection == root_of(taught.train)
    changed = (tmp_path / "rows.jsonl").read_text().replace("unknown", "owner", 1)
    (tmp_path / "rows.jsonl").write_text(changed)
    assert rows_root(tmp_path / "rows.jsonl") != taught.use.selection
    assert json.loads(changed.splitlines()[0])["image"]["media_type"] == "image/png"


def test_what_is_held_out_is_never_learned_from(tmp_path: Path) -> None:
    taught = open_taught(teaching.pictures(tmp_path / "pictures"), Statement(), Selection(), 64)
    assert taught.holding_out(0.2, 0) is taught, "less than one picture is none"
    parted = taught.holding_out(0.5, 0)
    assert len(parted.train) == len(parted.held_out) == 2
    assert parted.use.rows == 2
    assert len(taught.holding_out(1.0, 0).train) == 1


def test_a_corpus_speaks_for_itself(corpus: Path) -> None:
    taught = open_taught(corpus, Statement(), Selection(collections=("aa",)), 64)
    assert {row.source.collection for row in taught.rows} == {"aa"}
    assert taught.picture(taught.rows[0]).size == (32, 32)
    assert taught.policy.startswith("sha256:")
    with pytest.raises(InvalidInput, match="is a corpus"):
        open_taught(corpus, Statement(basis="owner"), Selection(), 64)


def test_what_cannot_be_learned_from_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no pictures"):
        open_taught(tmp_path, Statement(), Selection(), 64)
    with pytest.raises(InvalidInput, match="not a folder"):
        open_taught(tmp_path / "none", Statement(), Selection(), 64)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(CorpusError, match=r"broken\.png: .*Take it out"):
        open_taught(tmp_path, Statement(), Selection(), 64)
    with pytest.raises(InvalidInput, match="needs --maker"):
        Statement.of(mine=False, licence="CC-BY-4.0", maker=None)
