from __future__ import annotations

from pathlib import Path

import pytest

from impasto.files import write_bytes, write_text, written_whole


def write_half(path: Path, error: BaseException) -> None:
    with written_whole(path) as temporary:
        temporary.write_text("half of the n")
        raise error


def test_written_file_is_there_and_alone(tmp_path: Path) -> None:
    write_bytes(tmp_path / "new" / "deep" / "a.bin", b"\x00\xff")

    assert (tmp_path / "new" / "deep" / "a.bin").read_bytes() == b"\x00\xff"
    assert [p.name for p in (tmp_path / "new" / "deep").iterdir()] == ["a.bin"]


def test_existing_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a longer, older text")
    write_text(path, "new")

    assert path.read_text() == "new"


def test_text_is_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "über\nzwei\n")

    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xbcber\nzwei\n"


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(RuntimeError):
        write_half(path, RuntimeError())

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_failure_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), written_whole(tmp_path / "a.txt"):
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_interruption_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(KeyboardInterrupt):
        write_half(path, KeyboardInterrupt())

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_old_content_is_seen_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    with written_whole(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent, "a rename is atomic only within one file system"
        assert path.read_text() == "old"

    assert path.read_text() == "new"
