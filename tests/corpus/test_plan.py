from __future__ import annotations

from pathlib import Path

import pytest

from impasto.corpus.plan import CorpusPlan
from impasto.corpus.policy import Policy
from impasto.corpus.sources import SOURCES
from impasto.errors import InvalidPlan

RECIPES = Path(__file__).parents[2] / "recipes" / "glyph"


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "corpus.toml"
    file.write_text(f'name = "t"\npolicy = "policy.toml"\n{text}')
    return file


def test_sources_are_read_by_kind(tmp_path: Path) -> None:
    text = '[[sources]]\nkind = "folder"\npath = "p"\ncollection = "c"\nversion = "1"\n'
    plan = CorpusPlan.read_toml(write(tmp_path, text), InvalidPlan)
    assert type(plan.sources[0]) is SOURCES["folder"]
    assert plan.plain()["sources"][0]["path"] == "p"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[sources]]\nkind = "web"\n', "choose one of folder, iconify"),
        ('[[sources]]\nkind = "folder"\n', "Field required"),
        ('[[sources]]\nkind = "iconify"\nsurprise = 1\n', "surprise"),
        ("size = 4\nsources = []\n", "greater than or equal to 16"),
        ("sources = 1\n", "sources"),
    ],
)
def test_what_does_not_parse_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidPlan, match=words):
        CorpusPlan.read_toml(write(tmp_path, text), InvalidPlan)


def test_the_plan_of_glyph() -> None:
    plan = CorpusPlan.read_toml(RECIPES / "corpus.toml", InvalidPlan)
    policy = Policy.read_toml(RECIPES / plan.policy, InvalidPlan)
    prefixes = [c.prefix for source in plan.sources for c in source.collections]  # type: ignore[attr-defined]
    assert len(prefixes) == len(set(prefixes))
    assert {"openmoji", "emojione-v1"} <= set(prefixes), "listed so that they are visibly refused"
    assert "CC-BY-SA-4.0" in policy.refused_licences
    assert not {"openmoji", "emojione-v1"} & set(plan.sources[0].held_out_from)
    assert plan.size == 128


def test_the_concepts_of_glyph_are_plain_names() -> None:
    from impasto.corpus.concepts import read_concepts

    concepts = read_concepts(RECIPES / "concepts.txt")
    assert 350 <= len(concepts) <= 400
    assert all(name == name.lower().strip() and " " not in name for name in concepts)
