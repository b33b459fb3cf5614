from __future__ import annotations

from pathlib import Path

import pytest

from impasto.corpus.build import Progress, build
from impasto.corpus.store import Corpus
from impasto.errors import CorpusError, InvalidPlan
from tests.corpus.icons import collection, package, plan, sections, shape


def run(plan_file: Path, output: Path, tarball: Path | None = None) -> Corpus:
    for _ in build(plan_file, output, tarball, workers=1):
        pass
    return Corpus.open(output)


def test_what_is_admitted_and_what_is_refused(tiny: Path) -> None:
    corpus = Corpus.open(tiny)
    assert len(corpus.rows) == 16
    rules = sorted((one.work.key, one.rule) for one in corpus.refused)
    assert rules == [(f"{c}:flag-x", "flag") for c in ("aa", "bb", "cc", "dd")] + [("sa:fox", "licence")]
    assert corpus.verify() == []


def test_the_same_plan_gives_the_same_root_and_files(tiny_plan: tuple[Path, Path], tiny: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert run(tiny_plan[0], again, tiny_plan[1]).root == Corpus.open(tiny).root
    files = sorted(path.relative_to(tiny) for path in tiny.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((tiny / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_pairs_are_held_out(tiny: Path) -> None:
    rows = Corpus.open(tiny).rows
    held = [row for row in rows if row.split == "held-out"]
    assert 0 < len(held) <= 8
    for row in held:
        others = [r for r in rows if r.concept == row.concept and r.split == "train"]
        assert len(others) >= 2


def test_near_duplicates_go_with_the_id_they_repeat(tmp_path: Path) -> None:
    one = collection("aa", {"fox": shape(1, "#d33")})
    two = collection("bb", {"fox": shape(1, "#d33"), "owl": shape(2, "#d33")})
    tarball = tmp_path / "icons.tgz"
    corpus = run(plan(tmp_path, package(tarball, one, two), sections("aa", "bb")), tmp_path / "c", tarball)
    assert [row.key for row in corpus.rows] == ["aa:fox", "bb:owl"]
    assert corpus.refused[0].rule == "near-duplicate"
    assert corpus.refused[0].reason == f"Repeats aa:fox ({corpus.rows[0].id})."


def test_unreadable_and_empty_drawings_are_refused(tmp_path: Path) -> None:
    data = collection("aa", {"bad": "<rect", "empty": "<g/>", "fox": shape(1, "red")})
    tarball = tmp_path / "icons.tgz"
    corpus = run(plan(tmp_path, package(tarball, data), sections("aa")), tmp_path / "c", tarball)
    assert {one.work.source.key: one.rule for one in corpus.refused} == {"bad": "unreadable", "empty": "empty"}


def test_a_folder_without_statements_is_refused_whole(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("RGB", (32, 32), "red").save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "a.txt").write_text("red")
    file = plan(tmp_path, "sha512-x", "")
    text = file.read_text().split("[[sources]]")[0]
    section = '[[sources]]\nkind = "folder"\npath = "images"\ncollection = "mine"\nversion = "1"\n'
    file.write_text(text + section)
    with pytest.raises(CorpusError, match="Nothing in"):
        run(file, tmp_path / "c")
    assert not (tmp_path / "c").exists()
    file.write_text(text + section + 'maker = "Ada"\nlicence = "MIT"\nconsent = "owner"\n')
    assert [row.caption.text for row in run(file, tmp_path / "c").rows] == ["red"]


def test_progress_is_told(tiny_plan: tuple[Path, Path], tmp_path: Path) -> None:
    seen = list(build(tiny_plan[0], tmp_path / "c", tiny_plan[1], workers=1))
    assert [*dict.fromkeys(step.stage for step in seen)] == ["read", "draw", "compare", "write"]
    assert Progress("draw", 16, 16) in seen


def test_a_stopped_build_leaves_nothing(tiny_plan: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "c"
    steps = build(tiny_plan[0], output, tiny_plan[1], workers=1)
    next(steps)
    steps.close()
    assert not output.exists()


def test_a_failed_build_leaves_the_old_corpus(
    tiny_plan: tuple[Path, Path], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Corpus.open(tiny).root

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("impasto.corpus.store.write_images", fail)
    with pytest.raises(OSError, match="disk full"):
        run(tiny_plan[0], tiny, tiny_plan[1])
    assert Corpus.open(tiny).root == root
    assert not list(tiny.parent.glob(".*"))


def test_what_is_not_a_corpus_is_never_replaced(tiny_plan: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "c"
    output.mkdir()
    (output / "precious.txt").write_text("x")
    with pytest.raises(CorpusError, match="not a corpus"):
        run(tiny_plan[0], output, tiny_plan[1])


def test_two_sources_under_one_name_clash(tmp_path: Path) -> None:
    data = collection("aa", {"fox": shape(1, "red")})
    tarball = tmp_path / "icons.tgz"
    file = plan(tmp_path, package(tarball, data), sections("aa", "aa"))
    with pytest.raises(InvalidPlan, match="offered twice"):
        run(file, tmp_path / "c", tarball)
