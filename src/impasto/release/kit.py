"""The release kit: a folder that says everything that whoever gets the model should know, signed.

    README.md             the model card               LICENSE, USE_POLICY.md   the terms
    ATTRIBUTION, NOTICE   makers; what was changed      DATASHEET.md, croissant.json, corpus/   what it learned from
    TRAINING_SUMMARY.md   for Art. 53(1)(d)            bom.cdx.json             bill of materials
    receipt.json          what it was made from         benchmarks/              the figures' files, as written
    release.json          the above in short, by digest model.sig, signer.pem    the signature, and by whom

Beside them the model, as a diffusers folder in safetensors with ModelSpec 1.0.1; an adapter or embedding as one file,
with the rows that it was taught (`rows.jsonl`).
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from impasto import __version__
from impasto.adapters.embeddings import write_embedding
from impasto.adapters.lora import Adapter, write_adapter
from impasto.corpus.attribution import attribution
from impasto.corpus.store import MANIFEST, canonical_order, root_of
from impasto.errors import InvalidInput
from impasto.files import write_bytes, write_text
from impasto.release import bom, card, croissant, datasheet, signature
from impasto.release.licences import CHANGES, TERMS, USE, alternatives
from impasto.release.subject import Subject, essence
from impasto.rights import artefacts, receipts, rows
from impasto.rights.artefacts import CREDIT
from impasto.rights.identity import Identity
from impasto.schema import file_digest, read_json
from impasto.weights import files
from impasto.weights.checkpoint import Checkpoint
from impasto.weights.layouts import diffusers, ldm
from impasto.weights.load import build, save_folder

RELEASE = "release.json"
CORPUS_FILES = (MANIFEST, "plan.toml", "policy.toml", "rows.parquet", "refused.parquet")
LARGE = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.parquet filter=lfs diff=lfs merge=lfs -text\n"
RESTRICTIONS = re.compile(r"^\s*attachment a\b", re.IGNORECASE | re.MULTILINE)
POLICY = """# Use policy

The licence ({licence}) says what may be done with this model and with its pictures; this policy adds no terms to it.

It is meant for making pictures from words. It is not meant for pictures of real people without their consent, for
passing off pictures as somebody's work or as photographs of what happened, or for anything that the law forbids.
"""


def release(subject: Subject, folder: Path, identity: Identity) -> Iterator[str]:
    """Write the kit of `subject` into `folder`, whole or not at all; yield what is being done, in words.

    Args:
        subject: what is released.
        folder: a new or empty one, or one with an earlier release, which is replaced.
        identity: whose signature it gets.

    Raises:
        InvalidInput: something else is in the folder; the text of the licence is not here.
    """
    if folder.exists() and not (folder / RELEASE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} is there and is no release; choose another --output.")
    texts = _texts(subject)
    new = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield "Writing the weights"
        _model(subject, new)
        yield "Writing what is said of it"
        for name, text in texts.items():
            write_text(new / name, text)
        _corpus(subject, new)
        _works(subject, new)
        for result, place in zip(subject.results, subject.choices.results, strict=True):
            write_bytes(new / "benchmarks" / result.name, place.read_bytes())
        weights = {path.relative_to(new).as_posix(): _hex(path) for path in sorted(new.rglob("*.safetensors"))}
        _write_json(new / "bom.cdx.json", bom.bom(subject, weights))
        _write_json(new / RELEASE, summary(subject, new))
        yield "Signing"
        signature.sign(new, identity)
        _replace(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _replace(new: Path, folder: Path) -> None:
    old = new.with_suffix(".old")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _hex(path: Path) -> str:
    return file_digest(path).removeprefix("sha256:")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def summary(subject: Subject, folder: Path) -> dict[str, Any]:
    """Return what `release.json` says."""
    results = sorted((folder / "benchmarks").glob("*.json"))
    return {
        "format": "impasto-release/1",
        "kind": subject.kind,
        **({"file": card.file_name(subject)} if subject.finished.made else {}),
        "name": subject.name,
        "identity": subject.finished.identity,
        "author": subject.choices.author,
        "day": str(subject.choices.day),
        "licence": subject.licence,
        "parts": [vars(part) for part in subject.parts],
        "verdict": subject.judgement.verdict,
        "reasons": list(subject.judgement.reasons),
        "obligations": list(subject.judgement.obligations),
        "answer": subject.choices.answer,
        "receipt": essence(subject.receipt),
        "results": {path.name: file_digest(path) for path in results},
        "code": f"impasto {__version__}",
    }


def _model(subject: Subject, folder: Path) -> None:
    """Write the weights and configurations, with ModelSpec in each file's header."""
    checkpoint, receipt = subject.finished.checkpoint, subject.receipt
    if checkpoint is None:
        _adapter(subject, folder)
        return
    networks = build(checkpoint)
    save_folder(folder, networks, checkpoint.about, receipt=receipt, notices=_receipts_of_parts(subject))
    for name, layout in diffusers.COMPONENTS.items():
        path = folder / name / layout.weights
        tensors = files.load(path)
        files.save(path, tensors, {**_model_spec(subject, checkpoint, name), **_hashed(tensors)})


def _adapter(subject: Subject, folder: Path) -> None:
    """Write an adapter or embedding as one file that other programs read, with its receipt and rows."""
    made, path = subject.finished.made, folder / card.file_name(subject)
    assert made is not None
    folder.mkdir(parents=True)
    said = {**made.metadata, "modelspec.title": subject.name, **_by_whom(subject)}
    if isinstance(made, Adapter):
        write_adapter(replace(made, metadata=said), path)
    else:
        write_embedding(replace(made, metadata=said), path)
    tensors = files.load(path)
    files.save(path, tensors, {**tensors.metadata, **_hashed(tensors)})
    if (there := artefacts.read(path).digest) != subject.finished.identity:
        raise InvalidInput(f"{subject.path} cannot be written as one file: that would be {there}.")
    if subject.receipt:
        write_bytes(folder / diffusers.RECEIPT, subject.receipt.canonical() + b"\n")
    if subject.rows and not subject.corpus:
        write_bytes(folder / rows.ROWS, b"".join(row.leaf() + b"\n" for row in canonical_order(subject.rows)))


def _receipts_of_parts(subject: Subject) -> dict[str, str]:
    found = receipts.parts(subject.receipt, subject.path) if subject.receipt else ()
    places = [(f"{name}/{diffusers.RECEIPT}", part) for name, part in found]
    places += [(f"{receipts.EARLIER}/{name}", stage) for name, stage in receipts.earlier(subject.path)]
    return {place: receipt.canonical().decode() + "\n" for place, receipt in places if receipt}


def _by_whom(subject: Subject) -> dict[str, str]:
    return {
        "modelspec.author": subject.choices.author,
        "modelspec.date": str(subject.choices.day),
        "modelspec.license": subject.licence,
    }


def _model_spec(subject: Subject, checkpoint: Checkpoint, component: str) -> dict[str, str]:
    spec = checkpoint.spec
    return {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{ldm.architecture(spec)}/{component.replace('_', '-')}",
        "modelspec.implementation": "https://github.com/huggingface/diffusers",
        "modelspec.title": f"{subject.name}, {component.replace('_', ' ')}",
        "modelspec.resolution": f"{spec.resolution}x{spec.resolution}",
        **_by_whom(subject),
    }


def _hashed(tensors: files.TensorFile) -> dict[str, str]:
    return {"modelspec.hash_sha256": f"0x{files.data_sha256(tensors)}"}


def _corpus(subject: Subject, folder: Path) -> None:
    if subject.corpus is None:
        return
    (folder / receipts.CORPUS).mkdir()
    for name in CORPUS_FILES:
        if (subject.corpus.folder / name).is_file():
            shutil.copyfile(subject.corpus.folder / name, folder / receipts.CORPUS / name)
    _write_json(folder / "croissant.json", croissant.croissant(subject, subject.corpus))


def _works(subject: Subject, folder: Path) -> None:
    """Carry the index of the works along by which pictures are traced, where the model has one.

    Raises:
        InvalidInput: it is of another model, or of works that this one did not learn from.
    """
    from impasto.rights.works import FACTS, WORKS, IndexFacts

    place = subject.path / WORKS
    if not (place / FACTS).is_file():
        return
    facts = IndexFacts.parse(read_json(place / FACTS), str(place / FACTS))
    learned = {use.root for use in subject.receipt.corpora} if subject.receipt else set()
    if facts.model_digest != subject.finished.identity or facts.root not in learned:
        raise InvalidInput(f"The index in {place} is not of this model and its corpus. Make it again, or take it away.")
    shutil.copytree(place, folder / WORKS)


def _texts(subject: Subject) -> dict[str, str]:
    licence = _licence_text(subject)
    return {
        ".gitattributes": LARGE,
        "README.md": card.card(subject),
        "LICENSE": licence,
        "USE_POLICY.md": _use_policy(subject, licence),
        CREDIT: credit(subject),
        "NOTICE": _notice(subject),
        "DATASHEET.md": datasheet.datasheet(subject),
        "TRAINING_SUMMARY.md": datasheet.training_summary(subject),
    }


def credit(subject: Subject) -> str:
    """Return the text of ATTRIBUTION: the makers of what it learned from, and what else it was made from."""
    makers = subject.finished.notices.get(CREDIT)
    if makers is None and subject.rows:
        name = subject.corpus.manifest.name if subject.corpus else "that it was taught"
        makers = attribution(name, root_of(subject.rows), subject.rows)
    others = [part for part in subject.parts if part.role != "corpus"]
    lines = [f"Made from {card.one_line(part.name)} ({part.role}), licence {part.licence}" for part in others]
    return "\n".join([makers or "What it learned from is undeclared.\n", *lines]).rstrip("\n") + "\n"


def _notice(subject: Subject) -> str:
    kept = subject.finished.notices.get("NOTICE", "")
    words = f"{subject.name}, released by {subject.choices.author} on {subject.choices.day} under {subject.licence}."
    changed = "It was made from other works and models, and differs from them: receipt.json says how.\n"
    return f"{words}\n" + (changed if CHANGES in subject.judgement.obligations else "") + (f"\n{kept}" if kept else "")


def _licence_text(subject: Subject) -> str:
    """Return the text of the licence that it is released under.

    Raises:
        InvalidInput: it is not here, or lacks the restrictions that have to be carried.
    """
    text = _found_text(subject)
    carried = USE in subject.judgement.obligations or any(
        TERMS[name].use for choice in alternatives(subject.licence) for name in choice if name in TERMS
    )
    if carried and not RESTRICTIONS.search(text):
        raise InvalidInput(
            "The licence's text has no Attachment A, whose use restrictions have to be carried. "
            "Give the whole licence with --licence-text FILE."
        )
    return text


def _found_text(subject: Subject) -> str:
    if subject.choices.licence_text:
        return _read(subject.choices.licence_text)
    own = subject.receipt.licence if subject.receipt else None
    if (text := subject.finished.notices.get("LICENSE")) and own == subject.licence:
        return text
    if subject.licence == "Apache-2.0" and (text := _packaged()):
        return text
    raise InvalidInput(f"The text of {subject.licence} is not here. Give it with --licence-text FILE.")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"Cannot read {path}: {error}") from error


def _packaged() -> str | None:
    """Return the text of the Apache License 2.0, which Impasto itself comes with."""
    try:
        return distribution("impasto").read_text("licenses/LICENSE")
    except PackageNotFoundError:
        return None


def _use_policy(subject: Subject, licence: str) -> str:
    if subject.choices.use_policy:
        return _read(subject.choices.use_policy)
    if found := RESTRICTIONS.search(licence):
        words = "# Use policy\n\nThese restrictions are part of the licence (LICENSE)."
        return f"{words}\n\n{licence[found.start() :].strip()}\n"
    return POLICY.format(licence=subject.licence)
