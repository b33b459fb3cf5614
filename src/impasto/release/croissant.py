"""What a model learned from, for programs: Croissant 1.1 with the RAI vocabulary, as JSON-LD written by ourselves.

Sources: MLCommons, Croissant Format Specification 1.1; Croissant RAI Vocabulary 1.0.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from impasto.corpus.record import COLUMNS
from impasto.corpus.store import Corpus
from impasto.release.subject import Subject, licences
from impasto.schema import file_digest

OWN = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    **{name: f"cr:{name}" for name in OWN},
}
"""The specification's own, with the keys that it asks every file to have."""

TYPES = {
    "width": "sc:Integer",
    "height": "sc:Integer",
    "bytes": "sc:Integer",
    "repeat": "sc:Integer",
    "ink": "sc:Float",
}
PLAIN = [name for name in COLUMNS if name not in ("also", "signals")]
ROWS = "corpus/rows.parquet"


def croissant(subject: Subject, corpus: Corpus) -> dict[str, Any]:
    """Return the JSON-LD of the corpus that `subject` learned from, whose manifest lies in the release's folder."""
    manifest, rows = corpus.manifest, subject.rows
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": manifest.name,
        "description": f"{len(corpus.rows):,} pictures with captions, makers and licences; {len(rows):,} for training.",
        "url": manifest.root,
        "identifier": manifest.root,
        "version": "1.0.0",
        "citeAs": f"{manifest.name}, Merkle root {manifest.root}",
        "datePublished": str(subject.choices.day),
        "license": [licence for licence, _ in licences(rows)],
        "creator": {"@type": "sc:Organization", "name": subject.choices.author},
        "distribution": [_file(corpus)],
        "recordSet": [_records()],
        **_responsible(subject, corpus),
    }


def _file(corpus: Corpus) -> dict[str, Any]:
    path = corpus.folder / "rows.parquet"
    return {
        "@type": "cr:FileObject",
        "@id": "rows",
        "name": "rows.parquet",
        "contentUrl": ROWS,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file_digest(path).removeprefix("sha256:"),
    }


def _records() -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"works/{name}",
            "name": name,
            "dataType": TYPES.get(name, "sc:Text"),
            "source": {"fileObject": {"@id": "rows"}, "extract": {"column": name}},
        }
        for name in PLAIN
    ]
    return {"@type": "cr:RecordSet", "@id": "works", "name": "works", "field": fields}


def _responsible(subject: Subject, corpus: Corpus) -> dict[str, Any]:
    rows = subject.rows
    collections = Counter(f"{row.source.collection} {row.source.version}" for row in rows)
    times = sorted(row.source.retrieved_at for row in rows if row.source.retrieved_at)
    listed = ", ".join(f"{name} ({count:,})" for name, count in sorted(collections.items()))
    said: dict[str, Any] = {
        "rai:dataCollection": f"Taken from: {listed}." if listed else "Not known.",
        "rai:dataCollectionTimeFrame": [times[0], times[-1]] if times else [],
        "rai:dataAnnotationProtocol": "Captions from: " + ", ".join(sorted({row.caption.source for row in rows})),
        "rai:dataLimitations": f"{corpus.manifest.refused:,} works were refused by policy {corpus.manifest.policy}.",
        "rai:personalSensitiveInformation": "Not examined beyond the policy's rules.",
        "rai:dataReleaseMaintenancePlan": subject.choices.contact or "Nobody to write to is named.",
    }
    return {key: value for key, value in said.items() if value}
