from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from impasto.corpus.policy import Policy
from impasto.corpus.record import Consent, Image, Licence, Signal, Source
from impasto.errors import InvalidPlan
from tests.corpus.icons import POLICY, row

RECIPES = Path(__file__).parents[2] / "recipes" / "glyph"


@pytest.fixture(scope="module")
def glyph() -> Policy:
    return Policy.read_toml(RECIPES / "policy.toml")


def source(collection: str, key: str) -> dict[str, Any]:
    return {"source": Source(collection=collection, version="1", key=key, file="f")}


def signal(verdict: Any) -> dict[str, Any]:
    return {"signals": (Signal(kind="TDMRep", raw="1", verdict=verdict, seen_at="2026-01-01T00:00:00Z"),)}


def image(ink: float) -> dict[str, Any]:
    return {"image": Image(id="sha256:0", phash="0", width=1, height=1, bytes=1, media_type="image/png", ink=ink)}


def licensed(spdx: str) -> dict[str, Any]:
    return {"licence": Licence(spdx=spdx)}


REFUSED = [
    (licensed("CC-BY-SA-4.0"), "licence", "share-alike"),
    (licensed("GPL-3.0-or-later"), "licence", "copyleft"),
    (licensed("CC-BY-NC-4.0"), "licence", "non-commercial"),
    (licensed("LicenseRef-odd"), "licence", "is not one of"),
    (licensed("unknown"), "licence", "is not one of"),
    (licensed("MIT AND GPL-3.0-only"), "licence", "is not one of"),
    ({"consent": Consent(basis="unknown")}, "basis", "unknown"),
    ({"consent": Consent(basis="unreserved")}, "basis", "unreserved"),
    ({"consent": Consent(basis="synthetic")}, "basis", "synthetic"),
    (signal("deny"), "reserved", "TDMRep"),
    (signal("unknown"), "reserved", "TDMRep"),
    (source("logos", "anything"), "logo", "trademark"),
    ({"category": "Brand"}, "logo", "trademark"),
    ({"category": "Flags"}, "flag", "flag"),
    (source("noto", "flag-for-chad"), "flag", "flag"),
    (source("noto", "rainbow-flag"), "flag", "flag"),
    (source("noto", "waving-hand-dark-skin-tone"), "skin-tone", "skin tone"),
    (source("fluent-emoji", "waving-hand-medium-light"), "skin-tone", "skin tone"),
    (source("fxemoji", "fog"), "broken", "damaged"),
    (image(0.001), "empty", "0.10%"),
]


@pytest.mark.parametrize(("changes", "rule", "words"), REFUSED)
def test_refused(glyph: Policy, changes: dict[str, Any], rule: str, words: str) -> None:
    refusal = glyph.admits(row(**changes))
    assert refusal is not None
    assert refusal.rule == rule
    assert words in refusal.reason


@pytest.mark.parametrize(
    "changes",
    [
        {},
        licensed("Apache-2.0"),
        {"consent": Consent(basis="owner")},
        signal("absent"),
        signal("allow"),
        source("fluent-emoji", "vertical-traffic-light"),
        source("fluent-emoji", "police-car-light"),
        source("noto", "flagrant"),
    ],
)
def test_admitted(glyph: Policy, changes: dict[str, Any]) -> None:
    assert glyph.admits(row(**changes)) is None


def test_unknown_can_never_be_allowed(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY.replace('"owner"', '"unknown"'))
    with pytest.raises(InvalidPlan, match="never admitted"):
        Policy.read_toml(file, InvalidPlan)


def test_a_pattern_must_be_a_regular_expression(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY.replace('"(^|-)flag(-|$)"', '"("'))
    with pytest.raises(InvalidPlan, match="not a regular expression"):
        Policy.read_toml(file, InvalidPlan)


def test_the_digest_depends_on_every_rule(glyph: Policy) -> None:
    assert glyph.digest != glyph.model_copy(update={"min_ink": 0.02}).digest
    assert glyph.digest == Policy.read_toml(RECIPES / "policy.toml").digest
