"""`impasto adapter`: LoRAs and embeddings merged, taken out of models, made smaller, converted and looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from impasto.cli.facts import print_facts
from impasto.errors import InvalidInput

if TYPE_CHECKING:
    import torch

    from impasto.adapters.embeddings import Embedding
    from impasto.adapters.lora import Adapter
    from impasto.adapters.merge import Share
    from impasto.adapters.progress import Progress as Step
    from impasto.adapters.svd import Size
    from impasto.receipt import Receipt

T = TypeVar("T")

app = App(name="adapter", help="Merge, extract, resize, convert and look at LoRAs and embeddings.")

Output = Annotated[Path, Parameter(alias="-o", help="File or folder to write; nothing that is there is overwritten.")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None, Parameter(help="Number format to write; left out, as it is.")
]
Written = Annotated[
    Literal["kohya", "kohya-ldm", "diffusers", "peft"],
    Parameter(alias="-t", help="Layout to write (docs/adapters.md)."),
]


@dataclass(frozen=True)
class Sizing:
    """How large a change may stay.

    Attributes:
        rank: largest rank that a layer may keep.
        ratio: leave out singular values below the largest divided by this (kohya's sv_ratio).
        energy: share of the Frobenius norm to keep, up to 1 (kohya's sv_fro).
        cumulative: share of the sum of the singular values to keep, up to 1 (kohya's sv_cumulative).
    """

    rank: int | None = None
    ratio: float | None = None
    energy: float | None = None
    cumulative: float | None = None

    def size(self) -> Size | None:
        """Return the rule, None where nothing was said."""
        from impasto.adapters.svd import Size

        given = {name: value for name, value in vars(self).items() if value is not None}
        return Size.parse(given, "The size") if given else None


@dataclass(frozen=True)
class Writing:
    """How the result is written.

    Attributes:
        to: layout to write (docs/adapters.md).
        dtype: number format to write; left out, as it is.
    """

    to: Annotated[Literal["kohya", "kohya-ldm", "diffusers", "peft"], Parameter(alias="-t")] = "kohya"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None


Sizes = Annotated[Sizing, Parameter(name="*")]
Ways = Annotated[Writing, Parameter(name="*")]
NO_SIZE, USUAL = Sizing(), Writing()


@app.command
def merge(
    *sources: Path,
    output: Output,
    weights: str | None = None,
    text_weights: str | None = None,
    method: Literal["concatenate", "weighted-sum", "add-difference", "slerp", "bake"] | None = None,
    sizing: Sizes = NO_SIZE,
    writing: Ways = USUAL,
) -> None:
    """Merge adapters into one, models into one, or adapters into a model.

    What is merged is told from the files. Adapters are put side by side, which is exact and adds their ranks up, and
    with --rank or another rule made smaller by singular values; a LoKr, among others or alone, becomes a LoRA. Models
    are merged tensor by tensor; their autoencoder is the first one's. The result carries a receipt that names
    everything it was merged from, by digest.

    Parameters
    ----------
    sources
        files or folders, of adapters, of models, or a model and then adapters.
    weights
        one a source, such as 0.7,0.3; for a model with adapters one an adapter; for add-difference and slerp
        a single one. Left out: 1 for adapters, equal shares for models, 0.5 for slerp.
    text_weights
        of adapters, for the text encoder, where they are others.
    method
        concatenate for adapters, bake for a model with adapters, otherwise weighted-sum: a + b with weights,
        add-difference: a + weight * (b - c), slerp: along the arc from a to b.
    """
    from impasto.adapters import merge as merging
    from impasto.adapters.metadata import remade

    _check_free(output)
    models = [path for path in sources if _is_model(path)]
    adapters = [path for path in sources if path not in models]
    chosen = method or _method(models, adapters)
    if chosen != "concatenate":
        _merge_models(models, adapters, chosen, output, (weights, text_weights), writing.dtype)
        return
    if models:
        raise InvalidInput(f"{models[0]} is a model; {chosen} is for adapters. Leave --method out.")
    shares = _shares(adapters, weights, text_weights)
    size = sizing.size()
    result = _watched(merging.merged(shares, output.stem, size), "Merging")
    plan = {"method": chosen, "size": size.plain() if size else None}
    receipt = merging.merge_receipt(shares, result.name, plan)
    _write(remade(_cast(result, writing.dtype), [share.adapter for share in shares], receipt), output, writing.to)


def _merge_models(
    models: list[Path],
    adapters: list[Path],
    method: str,
    output: Path,
    told: tuple[str | None, str | None],
    dtype: str | None,
) -> None:
    from impasto.adapters import models as mixing
    from impasto.weights.detect import open_model

    opened = [open_model(path) for path in models]
    if method == "bake":
        if len(opened) != 1 or not adapters:
            raise InvalidInput("bake takes one model and at least one adapter.")
        steps = mixing.baked(opened[0], _shares(adapters, *told), output, _dtype(dtype))
    else:
        if adapters:
            raise InvalidInput(f"{adapters[0]} is an adapter; {method} is for models. Leave --method out.")
        numbers = _numbers(told[0], "--weights") or _usual_weights(method, len(models))
        mixture = mixing.Mixture.parse({"method": method, "weights": numbers}, "The merge")
        steps = mixing.mixed(opened, mixture, output, _dtype(dtype))
    result = _watched(steps, "Merging")
    Console(stderr=True).print(Text(f"{result.about.name} {result.digest}"), soft_wrap=True)
    print(output)


def _method(models: list[Path], adapters: list[Path]) -> str:
    if models and adapters:
        return "bake"
    return "weighted-sum" if models else "concatenate"


def _usual_weights(method: str, count: int) -> list[float]:
    return {"slerp": [0.5], "add-difference": [1.0]}.get(method, [1 / max(count, 1)] * count)


@app.command
def extract(
    base: Path,
    tuned: Path,
    /,
    *,
    output: Output,
    sizing: Sizes = NO_SIZE,
    conv_rank: int | None = None,
    clamp: float = 0.99,
    least: float = 0.01,
    writing: Ways = USUAL,
) -> None:
    """Take a LoRA out of two models: what the second has learned since it was the first.

    Says at the end how much of the difference the LoRA holds. Defaults are those of kohya's script: rank 4, where no
    other size is given, and a clamp.

    Parameters
    ----------
    base
        the model that was tuned.
    tuned
        what it became.
    conv_rank
        rank of 3x3 convolutions, which are left out otherwise.
    clamp
        quantile to which the factors are cut off; 1 cuts nothing off, and is closest to the difference.
    least
        a text encoder of which no weight differs by more than this is left out.
    """
    from impasto.adapters import extract as extracting
    from impasto.adapters.metadata import described
    from impasto.weights.detect import open_model

    _check_free(output)
    size = sizing.size()
    choices: dict[str, Any] = {"clamp": clamp, "least": least}
    choices |= {"size": size} if size else {}
    choices |= {"conv_size": {"rank": conv_rank}} if conv_rank else {}
    plan = extracting.Extraction.parse(choices, "The extraction")
    before, after = open_model(base), open_model(tuned)
    found = _watched(extracting.extracted(before, after, output.stem, plan), "Extracting")
    with Console(stderr=True).status("Naming what it was made from ..."):
        receipt = extracting.extract_receipt(before, after, found.name, plan)
    kept = found.metadata[extracting.KEPT]
    found = _cast(found, writing.dtype)
    made = described(found, before.spec, base=before.about.name, receipt=receipt, more={extracting.KEPT: kept})
    _write(made, output, writing.to)
    Console(stderr=True).print(f"It holds {float(kept):.1%} of the difference.")


@app.command
def resize(
    adapter: Path,
    /,
    *,
    output: Output,
    sizing: Sizes = NO_SIZE,
    writing: Ways = USUAL,
) -> None:
    """Make a LoRA smaller, leaving out what changes least: by rank, or by how much is to be kept.

    Of a LoKr, it makes a LoRA.

    Parameters
    ----------
    adapter
        file or folder of the LoRA.
    """
    from impasto.adapters.lora import read_adapter
    from impasto.adapters.merge import changed_receipt, resized
    from impasto.adapters.metadata import remade

    _check_free(output)
    size = sizing.size()
    if size is None:
        raise InvalidInput("How small? Give --rank, --ratio, --energy or --cumulative.")
    source = read_adapter(adapter)
    result = replace(_watched(resized(source, size), "Resizing"), name=output.stem)
    receipt = changed_receipt(source, "resized", size.plain())
    _write(remade(_cast(result, writing.dtype), [source], receipt), output, writing.to)
    was = "A LoKr was made into a LoRA" if source.kronecker else f"Ranks were up to {source.rank}"
    Console(stderr=True).print(f"{was}, and ranks are up to {result.rank}.")


@app.command
def convert(source: Path, target: Path, /, *, to: Annotated[str, Parameter(alias="-t")], dtype: Dtype = None) -> None:
    """Write a LoRA or an embedding in another layout.

    Parameters
    ----------
    source
        file or folder.
    target
        file to write (a folder for peft); nothing that is there is overwritten.
    to
        layout to write: kohya, kohya-ldm, diffusers or peft for a LoRA; emb_params, clip_l, diffusers, bin or pt
        for an embedding.
    """
    from impasto.adapters.embeddings import Embedding, write_embedding
    from impasto.adapters.merge import changed_receipt
    from impasto.adapters.metadata import remade

    _check_free(target)
    found = _open(source)
    if isinstance(found, Embedding):
        if dtype:
            raise InvalidInput("--dtype is for LoRAs: an embedding is a few vectors and stays as it is.")
        write_embedding(found, target, to)
        print(target)
        return
    cast = _cast(found, dtype)
    if cast.digest != found.digest:
        cast = remade(replace(cast, name=target.stem), [found], changed_receipt(found, "converted", {"dtype": dtype}))
    _write(cast, target, to)


@app.command
def inspect(path: Path, /, *, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Say what an adapter is: layout, rank, alpha, layers, base, metadata, hashes, receipt.

    Args:
        path: file or folder of a LoRA or an embedding.
        as_json: print everything as JSON.
    """
    from impasto.adapters.embeddings import Embedding

    found = _open(path)
    about = _about_embedding(found) if isinstance(found, Embedding) else _about_adapter(found, path)
    about |= _hashes(path, embedding=isinstance(found, Embedding)) if path.is_file() else {}
    if as_json:
        print(json.dumps({**about, "metadata": dict(found.metadata)}, indent=1, ensure_ascii=False))
        return
    console = Console()
    print_facts(console, str(path), {key: _said(value) for key, value in about.items()})
    print_facts(console, "Metadata", found.metadata)


def _open(path: Path) -> Adapter | Embedding:
    """Read the adapter or the embedding at `path`."""
    from impasto.adapters.embeddings import FOLDER_FILES, read_embedding
    from impasto.adapters.lora import read_adapter
    from impasto.weights.containers import open_tensors
    from impasto.weights.detect import content
    from impasto.weights.pictured import is_picture

    if path.is_dir():
        embedded = any((path / name).is_file() for name in FOLDER_FILES)
        return read_embedding(path) if embedded else read_adapter(path)
    embedded = is_picture(path) or content(open_tensors(path)) == "embedding"
    return read_embedding(path) if embedded else read_adapter(path)


def _is_model(path: Path) -> bool:
    from impasto.weights.containers import open_tensors
    from impasto.weights.detect import content
    from impasto.weights.layouts.diffusers import is_folder

    return is_folder(path) if path.is_dir() else content(open_tensors(path)) == "model"


def _check_free(target: Path) -> None:
    if target.exists():
        raise InvalidInput(f"{target} is there already, and is not overwritten. Choose another name.")


def _shares(paths: list[Path], weights: str | None, text_weights: str | None) -> list[Share]:
    from impasto.adapters.lora import read_adapter
    from impasto.adapters.merge import Share

    unet = _numbers(weights, "--weights") or [1.0] * len(paths)
    text = _numbers(text_weights, "--text-weights") or unet
    for name, given in (("--weights", unet), ("--text-weights", text)):
        if len(given) != len(paths):
            raise InvalidInput(
                f"{name} needs {len(paths)} numbers with commas between, one an adapter; given {len(given)}."
            )
    return [Share(read_adapter(path), own, other) for path, own, other in zip(paths, unet, text, strict=True)]


def _numbers(text: str | None, option: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")] if text else []
    except ValueError:
        raise InvalidInput(f"{option} {text!r} should be numbers with commas between, such as 0.7,0.3.") from None


def _dtype(name: str | None) -> torch.dtype | None:
    import torch

    return getattr(torch, name) if name else None


def _cast(adapter: Adapter, dtype: str | None) -> Adapter:
    """Return `adapter` in another number format, so that its digest is that of what is written."""
    if (kind := _dtype(dtype)) is None:
        return adapter
    parts = {
        part: {path: change.each(lambda tensor: tensor.to(kind)) for path, change in layers.items()}
        for part, layers in adapter.parts.items()
    }
    return replace(adapter, parts=parts)


def _watched(steps: Iterator[Step[T]], what: str) -> T:
    """Drive a piece of work and show how far it is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    result = None
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)
        for step in steps:
            bars.update(task, completed=step.done, total=step.total)
            result = step.result
    assert result is not None, "the last step has the result"
    return result


def _write(adapter: Adapter, output: Path, layout: str) -> None:
    from impasto.adapters.lora import write_adapter

    write_adapter(adapter, output, layout)
    Console(stderr=True).print(Text(f"{adapter.name} {adapter.digest}"), soft_wrap=True)
    print(output)


def _about_adapter(adapter: Adapter, path: Path) -> dict[str, Any]:
    from impasto.adapters.layouts import layouts_of
    from impasto.adapters.metadata import base_of, receipt_of
    from impasto.weights.containers import open_tensors

    told = adapter.metadata
    changes = [change for layers in adapter.parts.values() for change in layers.values()]
    return {
        "kind": _kind(adapter),
        "layout": layouts_of(open_tensors(path)) if path.is_file() else ["PEFT or diffusers, a folder"],
        "name": adapter.name,
        "digest": adapter.digest,
        "base": base_of(adapter),
        "trigger": told.get("modelspec.trigger_phrase"),
        "parts": {part: _about_part(layers) for part, layers in adapter.parts.items()},
        "numbers": sum(tensor.numel() for c in changes for tensor in c.factors.values()),
        "dtypes": sorted({str(change.down.dtype).removeprefix("torch.") for change in changes}),
        "receipt": _about_receipt(receipt_of(adapter)),
    }


def _kind(adapter: Adapter) -> str:
    """Return what people call an adapter that works in this way; a LoHa is read as the LoRA that it is."""
    decomposed = any(change.dora is not None for layers in adapter.parts.values() for change in layers.values())
    if adapter.kronecker:
        return "LoKr, decomposed" if decomposed else "LoKr"
    return "DoRA" if decomposed else "LoRA"


def _about_part(layers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "layers": len(layers),
        "rank": _range(change.rank for change in layers.values()),
        "alpha": _range(change.alpha for change in layers.values()),
        "modules": _groups(layers),
    }


def _range(values: Iterator[float]) -> str:
    found = sorted(set(values))
    return f"{found[0]:g}" if len(found) == 1 else f"{found[0]:g} to {found[-1]:g}"


def _groups(paths: Mapping[str, Any]) -> dict[str, int]:
    """Return how many of the layers are of each group that people know."""
    import re

    from impasto.adapters.trainable import MODULES

    counts: dict[str, int] = {}
    for path in paths:
        known = (
            name
            for name, patterns in MODULES.items()
            if name != "cross_attention" and any(re.fullmatch(pattern, path) for pattern in patterns.values())
        )
        group = next(known, "others")
        counts[group] = counts.get(group, 0) + 1
    return counts


def _about_embedding(embedding: Embedding) -> dict[str, Any]:
    from impasto.adapters.metadata import receipt_of

    return {
        "kind": "embedding",
        "name": embedding.name,
        "token": embedding.token,
        "digest": embedding.digest,
        "vectors": embedding.vectors.shape[0],
        "width": embedding.vectors.shape[1],
        "base": embedding.metadata.get("modelspec.architecture") or embedding.metadata.get("sd_checkpoint_name"),
        "receipt": _about_receipt(receipt_of(embedding)),
    }


def _about_receipt(receipt: Receipt | None) -> dict[str, Any] | None:
    from impasto.weights.consent import in_words

    if receipt is None:
        return None
    return {
        "kind": receipt.kind,
        "by": receipt.code,
        "parents": [f"{parent.name} ({parent.role}, {parent.identity})" for parent in receipt.parents],
        "corpora": [f"{use.rows:,} rows of {use.root}" for use in receipt.corpora],
        "consent": in_words(receipt.consent),
        "licence": receipt.licence,
    }


def _hashes(path: Path, *, embedding: bool) -> dict[str, str]:
    from impasto.adapters.metadata import embedding_hash, lora_hash
    from impasto.schema import file_digest

    return {
        "sha256": file_digest(path).removeprefix("sha256:"),
        "hash in A1111's pictures": embedding_hash(path) if embedding else lora_hash(path),
    }


def _said(value: Any) -> str:
    """Return a value of `inspect` in words."""
    if value is None:
        return "not known"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_said(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
