"""What learned from revoked rows, and how surely that is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from impasto.adapters.lora import write_adapter
from impasto.adapters.metadata import described
from impasto.cli import main
from impasto.corpus import revoked
from impasto.corpus.record import Row
from impasto.corpus.store import Corpus, root_of
from impasto.receipt import CorpusUse, Parent, PlanUse, Receipt
from impasto.rights import artefacts
from impasto.rights.affected import Affected, affected
from impasto.rights.lineage import Known
from impasto.training.taught import write_rows
from tests.adapters import random
from tests.rights import models
from tests.weights import tiny

OTHER = "sha256:" + "9" * 64

pytestmark = pytest.mark.usefixtures("without_packaged")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the manifest of its corpus in it."""
    return models.finished(tmp_path_factory.mktemp("here") / "tiny")


@pytest.fixture
def works(made: Path, tmp_path: Path) -> Corpus:
    return Corpus.open(Path(shutil.copytree(made / "corpus", tmp_path / "works")))


@pytest.fixture
def asked(works: Corpus) -> Callable[..., dict[str, Affected]]:
    """Revoke the row called so: (key, folders) -> what is affected, by name."""

    def ask(key: str, *folders: Path) -> dict[str, Affected]:
        row = next(row for row in works.rows if row.source.key == key)
        revoked.mark(works, [row], ("row", row.key), "asked", "a letter")
        return {one.artefact.name: one for one in affected(revoked.read(works.folder), Known(folders=folders))}

    return ask


def learned(folder: Path, works: Corpus, rows: Sequence[Row], root: str | None = None, **told: Any) -> Path:
    """Write an adapter whose receipt says that it learned from these rows."""
    use = CorpusUse(root=root or works.root, selection=root_of(rows), rows=len(rows), policy=OTHER)
    receipt = Receipt(kind="adapter", name="ink", corpora=(use,), code="impasto 0", **told)
    folder.mkdir()
    write_adapter(
        described(random.adapter(name="ink"), tiny.networks().spec, receipt=receipt), folder / "ink.safetensors"
    )
    return folder


def of(works: Corpus, *keys: str) -> list[Row]:
    return [row for row in works.rows if row.source.key in keys]


def test_what_learned_from_the_row(made: Path, asked: Callable[..., dict[str, Affected]]) -> None:
    found = asked("fox", made.parent)
    assert {name: (one.surely, [mark.asked for mark in one.marks]) for name, one in found.items()} == {
        "tiny": (True, ["row"])
    }


def test_what_the_model_never_saw_does_not_affect_it(made: Path, asked: Callable[..., dict[str, Affected]]) -> None:
    """The row is in the corpus, under its root, and was held out."""
    assert asked("dog", made.parent) == {}


def test_which_rows_is_not_known(works: Corpus, asked: Callable[..., dict[str, Affected]], tmp_path: Path) -> None:
    place = learned(tmp_path / "adapter", works, of(works, "fox"))
    (one,) = asked("fox", place).values()
    assert not one.surely
    assert [edge.role for edge in one.way] == ["learned from 1 rows of"]


@pytest.mark.parametrize(("key", "sure"), [("fox", True), ("owl", None)])
def test_the_rows_that_lie_beside(
    works: Corpus, asked: Callable[..., dict[str, Affected]], tmp_path: Path, key: str, sure: bool | None
) -> None:
    place = learned(tmp_path / "adapter", works, of(works, "fox"))
    write_rows(place / "ink.rows.jsonl", of(works, "fox"))
    assert [one.surely for one in asked(key, place).values()] == ([] if sure is None else [sure])


def test_rows_that_are_not_those_of_the_receipt_say_nothing(
    works: Corpus, asked: Callable[..., dict[str, Affected]], tmp_path: Path
) -> None:
    place = learned(tmp_path / "adapter", works, of(works, "fox", "owl"))
    write_rows(place / "ink.rows.jsonl", of(works, "owl"))
    assert [one.surely for one in asked("fox", place).values()] == [False]


@pytest.mark.parametrize(("key", "sure"), [("fox", True), ("owl", None)])
def test_the_rows_that_its_plan_selects(works: Corpus, tmp_path: Path, key: str, sure: bool | None) -> None:
    fox = of(works, "fox")
    plan = PlanUse.of({"select": {"concepts": [fox[0].concept]}})
    place = learned(tmp_path / "adapter", works, fox, plans={"model": plan})
    row = of(works, key)
    revoked.mark(works, row, ("row", row[0].key), "asked", "a letter")
    found = affected(revoked.read(works.folder), Known([works.folder], [place]))
    assert [one.surely for one in found] == ([] if sure is None else [sure])


def test_a_corpus_that_was_built_anew(works: Corpus, asked: Callable[..., dict[str, Affected]], tmp_path: Path) -> None:
    place = learned(tmp_path / "adapter", works, of(works, "fox"), root=OTHER)
    assert asked("fox", place) == {}  # of another corpus nothing is said
    write_rows(place / "ink.rows.jsonl", of(works, "fox"))
    assert [one.surely for one in asked("fox", place).values()] == [True]


def test_what_was_made_from_it(made: Path, asked: Callable[..., dict[str, Affected]], tmp_path: Path) -> None:
    parent = Parent(name="tiny", identity=artefacts.read(made).digest, role="base")
    receipt = Receipt(kind="adapter", name="ink", parents=(parent,), code="impasto 0")
    (tmp_path / "adapter").mkdir()
    spec = tiny.networks().spec
    write_adapter(
        described(random.adapter(name="ink"), spec, receipt=receipt), tmp_path / "adapter" / "ink.safetensors"
    )
    found = asked("fox", made.parent, tmp_path / "adapter")
    assert {name: one.surely for name, one in found.items()} == {"tiny": True, "ink": True}
    assert [edge.role for edge in found["ink"].way] == ["base", "learned from 3 rows of"]


def test_the_command(made: Path, works: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learned(tmp_path / "adapter", works, of(works, "fox"))
    words = ["lineage", "--affected", str(works.folder), "--in", str(made.parent), "--in", str(tmp_path / "adapter")]
    assert main(words) == 2
    assert "Nothing is revoked" in capsys.readouterr().err
    (row,) = of(works, "owl")
    revoked.mark(works, [row], ("row", row.key), "asked", "a letter")
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"learned from 3 rows of: 1 of the 1 revoked: {row.key}" in said
    assert "learned from 1 rows of: may have learned from what was revoked" in said
    assert main([*words, "--json"]) == 0
    told = {one["name"]: (one["affected"], one["rows"]) for one in json.loads(capsys.readouterr().out)}
    assert told == {"tiny": ("is", [row.key]), "ink": ("may be", [])}
