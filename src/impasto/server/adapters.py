"""The adapters and embeddings that a server offers, as their files and what lies beside them say."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from impasto.errors import ImpastoError, NotFound
from impasto.pictures.formats import DAMAGED
from impasto.pipeline.library import Library, Places
from impasto.schema import Frozen
from impasto.weights.consent import consent_at
from impasto.weights.containers import open_tensors

SIDE = 320
MOST_PIXELS = 40_000_000
BASES = ("modelspec.architecture", "ss_base_model_version", "ss_sd_model_name")
PREVIEWS = (".preview.png", ".png", ".jpg", ".jpeg", ".webp")
"""Endings of the picture that A1111's users put beside an adapter."""


class AdapterInfo(Frozen):
    """An adapter or embedding that is offered.

    Attributes:
        id: by which to ask for it, and by which prompts call it: `<lora:id:1>`, or an embedding's own name.
        name: what people call it.
        kind: what it is.
        base: what it was made for, where it says so.
        consent: how many works it learned from by which right, as its receipt says: `unknown` are those of which nobody
            said it. None where it has no receipt.
        trigger: words that call it forth, where it says so.
        size_bytes: of its files.
        thumbnail: whether there is a picture of what it does.
    """

    id: str
    name: str
    kind: Literal["lora", "embedding"]
    base: str | None
    trigger: str | None
    consent: dict[str, int] | None
    size_bytes: int
    thumbnail: bool


def offered(library: Library) -> list[AdapterInfo]:
    """Return everything in `library` that has a name of its own."""
    return [*_infos("lora", library.adapters), *_infos("embedding", library.embeddings)]


def _infos(kind: Literal["lora", "embedding"], places: Places) -> Iterator[AdapterInfo]:
    for name, (path, *others) in places.items():
        if others:
            continue  # two files of one name: asking for it is an error that says so
        told, beside = _metadata(path), _beside(path)
        yield AdapterInfo(
            id=name,
            name=told.get("modelspec.title") or told.get("ss_output_name") or name,
            kind=kind,
            base=next((told[key] for key in BASES if told.get(key)), None),
            trigger=told.get("modelspec.trigger_phrase") or beside.get("activation text") or None,
            consent=consent_at(path),
            size_bytes=sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*"))),
            thumbnail=_preview(path) is not None or "modelspec.thumbnail" in told,
        )


def thumbnail(library: Library, name: str) -> bytes:
    """Return the picture of an adapter or embedding, WebP, small.

    Raises:
        NotFound: there is none, or no such adapter.
    """
    places = {**library.embeddings, **library.adapters}
    if name not in places:
        raise NotFound(f"There is no adapter {name!r:.100}.")
    path = places[name][0]
    data = _thumbnail_bytes(path)
    try:
        with Image.open(io.BytesIO(data or b"")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError("too large")
            small = image.convert("RGB")
    except (*DAMAGED, OSError) as error:
        raise NotFound(f"There is no picture of the adapter {name!r:.100}.") from error
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    small.save(written, format="WEBP", quality=82)
    return written.getvalue()


def _thumbnail_bytes(path: Path) -> bytes | None:
    if preview := _preview(path):
        return preview.read_bytes()
    uri = _metadata(path).get("modelspec.thumbnail", "")
    try:
        return base64.b64decode(uri.partition(",")[2], validate=True)
    except binascii.Error:
        return None


def _preview(path: Path) -> Path | None:
    return next((file for ending in PREVIEWS if (file := path.with_suffix(ending)).is_file()), None)


def _metadata(path: Path) -> Mapping[str, str]:
    """Return what the file says of itself; what cannot be read says nothing, until somebody asks for it."""
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return {}
    try:
        return open_tensors(path).metadata
    except ImpastoError:
        return {}


def _beside(path: Path) -> dict[str, Any]:
    """Return what A1111 keeps beside an adapter in a JSON file of its name."""
    try:
        content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("activation text", ""), str) else {}
