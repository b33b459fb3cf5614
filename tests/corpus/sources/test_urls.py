from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from impasto.corpus import dataset
from impasto.corpus.build import build
from impasto.corpus.fetch import Settings, fetch
from impasto.corpus.sources.table import listed
from impasto.corpus.store import Corpus
from impasto.corpus.web import Manners
from impasto.errors import InvalidInput, SourceUnavailable
from tests.corpus.site import Page, image, served

POLICY = """name = "web"
licences = ["CC0-1.0"]
bases = ["licence", "grant", "unreserved"]
"""


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


LAION = [
    {"SAMPLE_ID": 1.0, "URL": "https://a.example/1", "TEXT": "a fox", "LICENSE": "?", "similarity": 0.3},
    {
        "SAMPLE_ID": 2.0,
        "URL": "https://a.example/2",
        "TEXT": None,
        "LICENSE": "CC0-1.0",
        "similarity": 0.3,
    },
]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_laions_columns(tmp_path: Path, suffix: str) -> None:
    first, second = listed(write(tmp_path / f"laion{suffix}", LAION))
    assert (first.url, first.caption, first.licence, first.consent.basis) == (
        "https://a.example/1",
        "a fox",
        "unknown",
        "unknown",
    )
    assert (second.caption, second.licence, second.consent.basis) == ("", "CC0-1.0", "licence")
    assert second.consent.evidence == f"laion{suffix}: row 1"


def test_a_basis_that_is_none_is_unknown(tmp_path: Path) -> None:
    (row,) = listed(write(tmp_path / "t.jsonl", [{"url": "u", "consent": "surely", "consent_evidence": "e"}]))
    assert row.consent.basis == "unknown"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.txt", "http://a.example", r"\.parquet"),
        ("t.csv", "address\nx\n", "no column url"),
        ("t.jsonl", "[1]\n", "no object"),
        ("t.jsonl", "{", "Cannot read"),
        ("t.parquet", "PAR1", "Cannot read"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput, match=words):
        list(listed(tmp_path / name))


def test_a_corpus_of_what_was_fetched(tmp_path: Path) -> None:
    with served({("", "/no.png"): Page(image(9), headers=(("X-Robots-Tag", "noai"),))}) as site:
        rows = [{"url": site.url(p), "text": p, "license": "CC0-1.0"} for p in ("/images/1.png", "/no.png", "/gone")]
        rows += [{"url": site.url("/images/2.png"), "text": "no licence"}, {"url": site.url("/images/1.png")}]
        settings = Settings(manners=Manners(contact="us", private=True, delay=0), threads=4)
        for _ in fetch(write(tmp_path / "t.jsonl", rows), tmp_path / "fetched", settings):
            pass
    (tmp_path / "policy.toml").write_text(POLICY)
    plan = tmp_path / "corpus.toml"
    section = '[[sources]]\nkind = "urls"\npath = "fetched"\ncollection = "web"\nversion = "t"\n'
    plan.write_text(f'name = "web"\npolicy = "policy.toml"\n{section}')
    for _ in build(plan, tmp_path / "corpus", workers=1):
        pass
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.verify() == []
    (row,) = corpus.rows
    assert (row.source.file, row.caption.text, row.consent.basis) == (rows[0]["url"], "/images/1.png", "licence")
    assert {signal.verdict for signal in row.signals} == {"absent"}
    assert len(row.signals) == 8
    assert {one.work.source.key[-1]: one.rule for one in corpus.refused} == {
        "1": "refused",
        "2": "failed",
        "3": "licence",
        "4": "duplicate",
    }
    assert len(dataset.load(corpus).rows) == 1


def test_nothing_was_fetched(tmp_path: Path) -> None:
    from impasto.corpus.sources import SOURCES, Place

    source = SOURCES["urls"].model_validate({"kind": "urls", "path": "x", "collection": "c", "version": "v"})
    with pytest.raises(SourceUnavailable, match="Nothing was fetched"):
        next(source.candidates(Place(tmp_path)))
