from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from impasto.corpus.candidates import Candidate, Raster, Svg
from impasto.corpus.sources import SOURCES, Place
from impasto.errors import SourceUnavailable

MINE = {"maker": "Ada", "maker_uri": "https://ada.example", "licence": "CC-BY-4.0", "consent": "owner"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    for name, colour in (("b.png", "red"), ("a.jpg", "blue"), ("deep/c.webp", "green")):
        Image.new("RGB", (9, 7), colour).save(images / name)
    return images


def read(folder: Path, **fields: Any) -> dict[str, Candidate]:
    section = {"kind": "folder", "path": folder.name, "collection": "mine", "version": "2026-01"}
    source = SOURCES["folder"].model_validate({**section, **fields})
    return {c.work.source.key: c for c in source.candidates(Place(folder.parent))}


def test_side_cars(folder: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(f" words of {name}\n")
    found = read(folder, **MINE)
    assert list(found) == ["a.jpg", "b.png", "deep/c.webp"]
    work = found["a.jpg"].work
    assert (work.caption.text, work.caption.source) == ("words of a.txt", "human")
    assert (work.maker.name, work.licence.spdx, work.consent.basis) == ("Ada", "CC-BY-4.0", "owner")
    assert found["a.jpg"].drawing == Raster((folder / "a.jpg").read_bytes())
    assert found["deep/c.webp"].refusal.rule == "caption"


def test_metadata_jsonl(folder: Path) -> None:
    rows = [
        {"file_name": "a.jpg", "text": "a", "maker": "Bo", "licence": "CC0-1.0", "consent": "public-domain"},
        {"file_name": "deep/c.webp", "text": "c", "concept": "cat", "category": "pets", "page": "https://c.example"},
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    found = read(folder, **MINE)
    one, other = found["a.jpg"].work, found["deep/c.webp"].work
    assert (one.maker.name, one.licence.spdx, one.consent.basis) == ("Bo", "CC0-1.0", "public-domain")
    assert one.maker.uri is None, "the page of the plan's maker is not another maker's"
    assert "its table" in one.licence.evidence
    assert (other.maker.uri, other.concept, other.category) == ("https://ada.example", "cat", "pets")
    assert "the plan" in other.licence.evidence
    assert found["b.png"].refusal.rule == "caption"


def test_metadata_csv(folder: Path) -> None:
    (folder / "metadata.csv").write_text('file_name,text,maker\nb.png,"a red, flat thing",\n', encoding="utf-8-sig")
    work = read(folder, **MINE)["b.png"].work
    assert (work.caption.text, work.maker.name) == ("a red, flat thing", "Ada")


def test_what_nobody_states_is_unknown(folder: Path) -> None:
    (folder / "a.txt").write_text("a")
    work = read(folder)["a.jpg"].work
    assert (work.maker.name, work.licence.spdx, work.consent.basis) == ("unknown", "unknown", "unknown")


def test_a_basis_that_is_none_is_unknown(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text('{"file_name": "a.jpg", "text": "a", "consent": "surely"}')
    assert read(folder, **MINE)["a.jpg"].work.consent.basis == "unknown"


def test_vector_drawings(folder: Path) -> None:
    (folder / "d.svg").write_text("<svg/>")
    (folder / "d.txt").write_text("d")
    assert read(folder)["d.svg"].drawing == Svg("<svg/>")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"metadata.jsonl": "{"}, "not a table"),
        ({"metadata.jsonl": '{"text": "a"}'}, "not a table"),
        ({"metadata.jsonl": "[1]"}, "not a table"),
        ({"metadata.csv": "image,text\na.jpg,a\n"}, "not a table"),
        ({"metadata.csv": "file_name,text\nz.png,z\n"}, "has no images z.png"),
        ({"metadata.csv": "", "metadata.jsonl": ""}, "keep one"),
    ],
)
def test_broken_tables(folder: Path, files: dict[str, str], words: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(SourceUnavailable, match=words):
        read(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="relative to the plan"):
        read(tmp_path / "nowhere")


def test_a_side_car_that_is_no_text(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SourceUnavailable, match=r"a\.txt is not UTF-8"):
        read(folder)
