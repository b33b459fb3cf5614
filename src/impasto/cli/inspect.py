"""`impasto inspect`: what a file of weights is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from impasto.cli.facts import print_facts

if TYPE_CHECKING:
    from impasto.weights.checkpoint import Checkpoint
    from impasto.weights.description import File
    from impasto.weights.store import Entry


def inspect(what: str, /, *, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Say what a file or folder of weights is: architecture, number formats, sizes, hashes, metadata, receipt.

    Nothing in the file is run, whatever it is. Of what was pulled it also says from where and under which licence.

    Args:
        what: the file, the folder of a model, or the name of what was pulled or is in another tool's folder.
        as_json: print everything as JSON.
    """
    from impasto.weights.consent import in_words
    from impasto.weights.description import describe
    from impasto.weights.home import NAMES, PACKAGED
    from impasto.weights.store import find

    path = find(what, None, {name: PACKAGED / name for name in NAMES})
    with Console(stderr=True).status(f"Reading {path} ..."):
        found = describe(path)
        plain = found.plain() if as_json else {}
    if as_json:
        print(json.dumps(plain, indent=1, ensure_ascii=False))
        return
    console = Console()
    console.print(Text.assemble((str(path), "bold"), f" is {found.what}."), soft_wrap=True)
    if found.problem:
        console.print(Text(f"It is not read here. {found.problem}", "red"), soft_wrap=True)
    by_right = Text(in_words(found.consent), "bold red" if "unknown" in (found.consent or ()) else "")
    console.print(Text.assemble("Learned from works by right of: ", by_right, "."), soft_wrap=True)
    if found.stored:
        print_facts(console, "Store", _stored(found.stored))
    if found.checkpoint:
        print_facts(console, "Model", _model(found.checkpoint))
    for file in found.files:
        print_facts(console, file.path.name, _file(file))
        print_facts(console, "Metadata", file.metadata)


def _model(checkpoint: Checkpoint) -> dict[str, str]:
    from impasto.weights.layouts.ldm import architecture

    spec, receipt = checkpoint.spec, checkpoint.receipt
    made = "not known"
    if receipt:
        parents = ", ".join(f"{parent.name} ({parent.role})" for parent in receipt.parents) or "nothing"
        corpora = ", ".join(f"{use.rows:,} rows of {use.root}" for use in receipt.corpora) or "no corpus known"
        made = f"{receipt.kind} by {receipt.code}, from {parents}, {corpora}"
        if receipt.identity not in (None, checkpoint.digest):
            made = f"its receipt is of another model, {receipt.identity}; it was changed since"
    return {
        "name": checkpoint.about.name,
        "architecture": architecture(spec),
        "predicts": spec.prediction,
        "pictures": f"{spec.resolution}x{spec.resolution}",
        "unet": f"{spec.unet.in_channels} channels in, {'-'.join(map(str, spec.unet.block_out_channels))}",
        "text": f"{spec.text.num_hidden_layers} layers of width {spec.text.hidden_size}",
        "digest": checkpoint.digest,
        "made": made,
        "licence": (receipt and receipt.licence) or "not known",
        "left out": f"{len(checkpoint.extras)} tensors that are no part of it" if checkpoint.extras else "nothing",
    }


def _stored(entry: Entry) -> dict[str, str]:
    origin = entry.origin
    return {
        "name": entry.name,
        "kind": entry.kind,
        "from": f"{origin.repo}{f' on {origin.hub}' if origin.hub else ''}" if origin else "not known",
        "revision": origin.revision if origin else "not known",
        "licence": str(entry.licence),
        "made for": entry.base or "not said",
        "files": f"{len(entry.files)}, {entry.bytes:,} bytes, as they were pulled",
    }


def _file(file: File) -> dict[str, str]:
    numbers = ", ".join(f"{count:,} of {dtype}" for dtype, count in file.dtypes.items())
    return {
        "kind": file.container,
        "size": f"{file.bytes:,} bytes",
        "tensors": f"{file.tensors:,} ({numbers} numbers)",
        "sha256": file.sha256,
        "short": file.short,
    }
