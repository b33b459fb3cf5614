from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from impasto.corpus.candidates import Candidate, Svg
from impasto.corpus.sources import SOURCES, Place
from impasto.errors import SourceUnavailable
from tests.corpus.icons import VERSION, collection, package, shape


def read(tmp_path: Path, data: list[dict[str, Any]], sections: list[dict[str, Any]]) -> dict[str, Candidate]:
    tarball = tmp_path / "icons.tgz"
    integrity = package(tarball, *data)
    section = {"kind": "iconify", "package": "icons", "version": VERSION, "integrity": integrity}
    source = SOURCES["iconify"].model_validate({**section, "collections": sections})
    return {c.work.key: c for c in source.candidates(Place(tmp_path, tarball))}


def test_an_icon_carries_maker_licence_and_evidence(tmp_path: Path) -> None:
    data = collection("aa", {"red-apple": shape(1, "red")}, categories={"Food": ["red-apple"]})
    work = read(tmp_path, [data], [{"prefix": "aa"}])["aa:red-apple"].work
    assert (work.maker.name, work.maker.uri) == ("Maker of aa", "https://aa.example")
    assert (work.licence.spdx, work.licence.url) == ("MIT", "https://mit.example")
    assert work.licence.evidence == f"icons@{VERSION}:json/aa.json#info.license"
    assert work.consent.basis == "licence"
    assert (work.caption.text, work.caption.source) == ("red apple", "icon name")
    assert (work.concept, work.category, work.source.version) == ("red-apple", "Food", f"icons@{VERSION}")


def test_a_collection_without_a_licence_has_an_unknown_basis(tmp_path: Path) -> None:
    data = collection("aa", {"fox": shape(1, "red")})
    data["info"]["license"] = {"title": "?"}
    work = read(tmp_path, [data], [{"prefix": "aa"}])["aa:fox"].work
    assert (work.licence.spdx, work.consent.basis) == ("unknown", "unknown")


def test_hidden_icons_and_aliases_are_left_out_with_a_reason(tmp_path: Path) -> None:
    data = collection("aa", {"fox": shape(1, "red"), "old": shape(2, "red")}, aliases={"vixen": {"parent": "fox"}})
    data["icons"]["old"]["hidden"] = True
    found = read(tmp_path, [data], [{"prefix": "aa"}])
    assert found["aa:old"].refusal.rule == "hidden"
    assert found["aa:vixen"].refusal.rule == "alias"
    assert "aa:fox" in found["aa:vixen"].refusal.reason
    assert found["aa:fox"].refusal is None
    assert found["aa:fox"].work.caption.also == ("vixen",)


def test_the_view_box_is_that_of_the_icon(tmp_path: Path) -> None:
    data = collection("aa", {"fox": "<g/>", "wide": "<g/>"}, width=24, height=24)
    data["icons"]["wide"] |= {"width": 48, "left": -2}
    found = read(tmp_path, [data], [{"prefix": "aa"}])
    for key, box in (("aa:fox", "0 0 24 24"), ("aa:wide", "-2 0 48 24")):
        drawing = found[key].drawing
        assert isinstance(drawing, Svg)
        assert f'viewBox="{box}"' in drawing.text


def test_only_the_largest_size_is_taken(tmp_path: Path) -> None:
    data = collection("aa", {f"fox-{n}": shape(n, "red") for n in (16, 48, 24)} | {"owl-16": shape(1, "red")})
    found = read(tmp_path, [data], [{"prefix": "aa", "sizes": r"-(\d+)$"}])
    assert {key for key, c in found.items() if c.refusal is None} == {"aa:fox-48", "aa:owl-16"}
    assert found["aa:fox-16"].refusal.rule == "smaller"
    assert found["aa:fox-48"].work.caption.text == "fox"


def test_emoji_sets_share_concepts(tmp_path: Path) -> None:
    one = collection("aa", {"red-apple": "<g/>", "mouse": "<g/>"}, chars={"1f34e": "red-apple"})
    two = collection("bb", {"apple-red": "<g/>"}, chars={"1f34e": "apple-red"})
    three = collection("cc", {"redapple": "<g/>", "mouseside": "<g/>", "apple-2": "<g/>"})
    sections = [
        {"prefix": "aa", "emoji": True},
        {"prefix": "bb", "emoji": True},
        {"prefix": "cc", "emoji": True, "rename": {"mouseside": "mouse"}, "trim": [r"-\d+$"]},
    ]
    found = read(tmp_path, [one, two, three], sections)
    assert {found[k].work.concept for k in ("aa:red-apple", "bb:apple-red", "cc:redapple")} == {"red-apple"}
    assert found["cc:mouseside"].work.concept == "mouse"
    assert found["cc:apple-2"].work.concept == "apple"
    assert found["bb:apple-red"].work.caption.text == "red apple"
    assert found["bb:apple-red"].work.caption.also == ("apple red",)
    assert found["cc:redapple"].work.caption.also == found["cc:mouseside"].work.caption.also == ()


def test_a_missing_collection_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="no collections zz"):
        read(tmp_path, [collection("aa", {})], [{"prefix": "zz"}])


def test_a_tarball_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    tarball = tmp_path / "icons.tgz"
    integrity = package(tarball, collection("aa", {}))
    tarball.write_bytes(tarball.read_bytes() + b"\0")
    section = {"kind": "iconify", "package": "icons", "version": VERSION, "integrity": integrity}
    source = SOURCES["iconify"].model_validate({**section, "collections": [{"prefix": "aa"}]})
    with pytest.raises(SourceUnavailable, match="not what the plan pins"):
        list(source.candidates(Place(tmp_path, tarball)))
