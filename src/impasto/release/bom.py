"""The bill of materials: CycloneDX 1.6 with a model card (ML-BOM).

Source: CycloneDX 1.6, JSON schema, `component.modelCard`, `pedigree`.
"""

from __future__ import annotations

import uuid
from typing import Any

from impasto import __version__
from impasto.release.licences import OBLIGATIONS
from impasto.release.subject import Result, Subject, licences

FAMILIES = {
    "model": "latent diffusion",
    "adapter": "low-rank adapter of latent diffusion",
    "embedding": "word vectors of latent diffusion",
}


def bom(subject: Subject, files: dict[str, str]) -> dict[str, Any]:
    """Return the bill of `subject`; `files` are the weights, path -> SHA-256 in hexadecimal digits.

    Its serial number follows from the model and the day, so that the same release has the same.
    """
    told = uuid.uuid5(uuid.NAMESPACE_URL, f"{subject.finished.identity} {subject.choices.day}")
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{told}",
        "version": 1,
        "metadata": {
            "timestamp": f"{subject.choices.day}T00:00:00Z",
            "tools": {"components": [{"type": "application", "name": "impasto", "version": __version__}]},
            "component": _model(subject),
        },
        "components": [*_weights(files), *_data(subject)],
        "dependencies": [{"ref": "model", "dependsOn": [*files, *(one["bom-ref"] for one in _data(subject))]}],
    }


def _model(subject: Subject) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": subject.name,
        "version": subject.finished.identity,
        "authors": [{"name": subject.choices.author}],
        "licenses": [{"license": {"name": subject.licence}}],
        "pedigree": {"ancestors": [_ancestor(subject, number) for number in range(len(_parents(subject)))]},
        "modelCard": {
            "modelParameters": {
                "task": "text-to-image",
                "architectureFamily": FAMILIES[subject.kind],
                "datasets": [{"ref": one["bom-ref"]} for one in _data(subject)],
                "inputs": [{"format": "text"}],
                "outputs": [{"format": "image"}],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [one for result in subject.results for one in _metrics(result)]
            },
            "considerations": {"technicalLimitations": list(subject.judgement.reasons)},
        },
        "properties": [{"name": "impasto:obligation", "value": OBLIGATIONS[o]} for o in subject.judgement.obligations],
    }


def _parents(subject: Subject) -> list[tuple[str, str]]:
    return [(parent.name, parent.identity) for parent in subject.receipt.parents] if subject.receipt else []


def _ancestor(subject: Subject, number: int) -> dict[str, Any]:
    name, identity = _parents(subject)[number]
    licence = next((part.licence for part in subject.parts if part.name == name), "")
    licences_ = {"licenses": [{"license": {"name": licence}}]} if licence else {}
    return {
        "type": "machine-learning-model",
        "bom-ref": f"ancestor-{number}",
        "name": name,
        "version": identity,
        **licences_,
    }


def _metrics(result: Result) -> list[dict[str, Any]]:
    return [
        {
            "type": str(figure.get("what")),
            "value": str(figure.get("value")),
            "slice": result.name,
            **(
                {"confidenceInterval": {"lowerBound": str(figure["low"]), "upperBound": str(figure["high"])}}
                if {"low", "high"} <= figure.keys()
                else {}
            ),
        }
        for figure in result.figures
    ]


def _weights(files: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"type": "file", "bom-ref": path, "name": path, "hashes": [{"alg": "SHA-256", "content": content}]}
        for path, content in files.items()
    ]


def _data(subject: Subject) -> list[dict[str, Any]]:
    uses = {use.root: use for use in (subject.receipt.corpora if subject.receipt else ())}
    here = subject.corpus.root if subject.corpus else None
    return [
        {
            "type": "data",
            "bom-ref": root,
            "name": subject.corpus.manifest.name if subject.corpus and root == here else "a corpus that is not here",
            "version": root,
            "licenses": [{"license": {"name": name}} for name, _ in licences(subject.rows)] if root == here else [],
            "data": [{"type": "dataset", "name": f"{use.rows} rows", "description": f"Selection {use.selection}"}],
        }
        for root, use in uses.items()
    ]
