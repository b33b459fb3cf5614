"""What adapters and embeddings say of themselves in their files, and the hashes that other programs know them by.

Sources: Stability-AI/ModelSpec 1.0.1 (`modelspec.*`); kohya-ss/sd-scripts (`ss_*`, `sshs_model_hash`), whose keys
A1111, ComfyUI and model sites show; AUTOMATIC1111's infotext (`Lora hashes`, `TI hashes`).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from impasto.adapters.embeddings import Embedding
from impasto.adapters.lora import MODEL_HASH, Adapter
from impasto.adapters.lowrank import product_shape
from impasto.errors import InvalidInput, printable
from impasto.models.specs import ModelSpec
from impasto.receipt import Receipt
from impasto.schema import file_digest
from impasto.weights import files
from impasto.weights.containers import container
from impasto.weights.layouts.ldm import RECEIPT, architecture

DIGITS = 12  # of the hashes in A1111's infotext
CONTEXTS = {768: "Stable Diffusion 1.x, by its shape", 1024: "Stable Diffusion 2.x, by its shape"}
MERGED = ("merged", "added", "subtracted")  # roles of parents in a receipt
DYNAMIC = "Dynamic"  # what kohya writes where layers differ

BASE_VERSIONS = {
    "stable-diffusion-v1": "sd_v1",
    "stable-diffusion-v1-inpainting": "sd_v1",
    "stable-diffusion-v2-512": "sd_v2",
    "stable-diffusion-v2-inpainting": "sd_v2",
    "stable-diffusion-v2-768-v": "sd_v2_v",
}
"""kohya's names of what an adapter is for, by ModelSpec's."""


def described(
    adapter: Adapter,
    spec: ModelSpec,
    *,
    base: str | None = None,
    receipt: Receipt | None = None,
    more: Mapping[str, str] | None = None,
) -> Adapter:
    """Return `adapter` with the metadata that other programs show, and its receipt.

    Args:
        adapter: to describe; its name becomes the title, and its own metadata are replaced.
        spec: of the model that it is for.
        base: name of that model.
        receipt: what it was made from; its `identity` is filled in.
        more: further strings, such as `ss_learning_rate`, `ss_steps` or `modelspec.trigger_phrase`.
    """
    kind = architecture(spec)
    told = {
        **_spec_keys(adapter.name, spec, f"{kind}/lora"),
        "ss_output_name": adapter.name,
        "ss_v2": str(kind.startswith("stable-diffusion-v2")),
        "ss_base_model_version": BASE_VERSIONS[kind],
        **network_keys(adapter),
        **({"ss_sd_model_name": base} if base else {}),
        **_receipt_keys(receipt, adapter),
        **(more or {}),
    }
    return replace(adapter, metadata=told)


def described_embedding(
    embedding: Embedding, spec: ModelSpec, *, receipt: Receipt | None = None, more: Mapping[str, str] | None = None
) -> Embedding:
    """Return `embedding` with the metadata that other programs show, and its receipt; see `described`."""
    told = {
        **_spec_keys(embedding.name, spec, f"{architecture(spec)}/textual-inversion"),
        **_receipt_keys(receipt, embedding),
        **(more or {}),
    }
    return replace(embedding, metadata=told)


def remade(adapter: Adapter, sources: Sequence[Adapter], receipt: Receipt) -> Adapter:
    """Return `adapter` with what the metadata of all its `sources` agree on, its own ranks, and its receipt."""
    first, *others = (source.metadata for source in sources)
    agreed = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    title = {
        key: adapter.name
        for key in ("modelspec.title", "ss_output_name")
        if any(key in source.metadata for source in sources)
    }
    own = {key: value for key, value in adapter.metadata.items() if key.startswith("impasto.")}
    told = {**agreed, **own, **title, **network_keys(adapter), **_receipt_keys(receipt, adapter)}
    return replace(adapter, metadata=told)


def _spec_keys(title: str, spec: ModelSpec, kind: str) -> dict[str, str]:
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": kind,
        "modelspec.implementation": "https://github.com/CompVis/stable-diffusion",
        "modelspec.title": title,
        "modelspec.resolution": f"{spec.resolution}x{spec.resolution}",
        "modelspec.prediction_type": "v" if spec.prediction == "v_prediction" else spec.prediction,
    }


def base_of(adapter: Adapter) -> str | None:
    """Return what `adapter` is for: as its metadata say, or else as the width of the words it looks at tells."""
    for key in ("ss_sd_model_name", "modelspec.architecture", "ss_base_model_version"):
        if adapter.metadata.get(key):
            return adapter.metadata[key]
    changes = adapter.parts.get("unet", {}).items()
    widths = {product_shape(change)[1] for path, change in changes if path.endswith(("attn2.to_k", "attn2.to_v"))}
    return CONTEXTS.get(widths.pop()) if len(widths) == 1 else None


def network_keys(adapter: Adapter) -> dict[str, str]:
    """Return kohya's keys for the ranks and alphas of `adapter`."""
    changes = [change for layers in adapter.parts.values() for change in layers.values()]
    windows = [change for change in changes if math.prod(product_shape(change)[2:]) > 1]
    others = [change for change in changes if math.prod(product_shape(change)[2:]) == 1] or windows
    kronecker = any(change.kron is not None for change in changes)
    arguments = {"algo": "lokr"} if kronecker else {}
    if windows:
        arguments |= {"conv_dim": _one(c.rank for c in windows), "conv_alpha": _one(c.alpha for c in windows)}
    return {
        "ss_network_module": "lycoris.kohya" if kronecker else "networks.lora",
        "ss_network_dim": _one(change.rank for change in others),
        "ss_network_alpha": _one(change.alpha for change in others),
        "ss_network_args": json.dumps(arguments),
    }


def _one(values: Iterable[float]) -> str:
    found = set(values)
    return f"{found.pop():g}" if len(found) == 1 else DYNAMIC


def _receipt_keys(receipt: Receipt | None, of: Adapter | Embedding) -> dict[str, str]:
    if receipt is None:
        return {}
    filled = Receipt.parse({**receipt.plain(), "identity": of.digest}, "The receipt")
    licence = {"modelspec.license": receipt.licence} if receipt.licence else {}
    parents = [parent.name for parent in receipt.parents if parent.role in MERGED]
    merged = {"modelspec.merged_from": ", ".join(parents)} if parents else {}
    date = {"modelspec.date": receipt.finished.isoformat()} if receipt.finished else {}
    return {RECEIPT: filled.canonical().decode("utf-8"), **licence, **merged, **date}


def receipt_of(made: Adapter | Embedding) -> Receipt | None:
    """Return the receipt that the file of `made` carries, None without one.

    Raises:
        InvalidInput: it is none, or that of something else.
    """
    if (text := made.metadata.get(RECEIPT)) is None:
        return None
    try:
        receipt = Receipt.parse(json.loads(text), f"{printable(made.name)}: {RECEIPT}")
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{printable(made.name)}: {RECEIPT} is not JSON: {error}") from None
    if receipt.identity not in (None, made.digest):
        raise InvalidInput(
            f"The receipt of {printable(made.name)} is of {receipt.identity}; the file is {made.digest}."
        )
    return receipt


def lora_hash(path: Path) -> str:
    """Return the 12 digits by which A1111's infotext names the LoRA in the file at `path` (`Lora hashes`).

    Raises:
        NotFound, UnreadableWeights: it is not a file of weights.
    """
    if container(path) != "safetensors":
        return file_digest(path).removeprefix("sha256:")[:DIGITS]
    told = files.read_header(path)[1].get(MODEL_HASH, "")
    return (told if re.fullmatch(r"[0-9a-f]{64}", told) else _after_header(path))[:DIGITS]


def embedding_hash(path: Path) -> str:
    """Return the 12 digits by which A1111's infotext names the embedding in the file at `path` (`TI hashes`)."""
    return file_digest(path).removeprefix("sha256:")[:DIGITS]


def _after_header(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while piece := file.read(1 << 20):
            state.update(piece)
    return state.hexdigest()
