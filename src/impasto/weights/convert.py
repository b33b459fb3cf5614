"""One layout into another."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from impasto import __version__
from impasto.errors import InvalidInput
from impasto.receipt import Parent, Receipt
from impasto.weights.checkpoint import Checkpoint
from impasto.weights.detect import Choices, open_model
from impasto.weights.load import build, save_file, save_folder

Layout = Literal["ldm", "diffusers"]


def convert(
    source: Path,
    target: Path,
    layout: Layout,
    *,
    dtype: torch.dtype | None = None,
    choices: Choices | None = None,
    prune: bool = False,
) -> Checkpoint:
    """Write the model at `source` to `target` in another layout, and return it as it is there.

    Args:
        source: file or folder.
        target: file (`ldm`) or folder (`diffusers`), which must not be there.
        layout: to write.
        dtype: of the weights; by itself as they are.
        choices: what to read of the source.
        prune: leave out what is no part of the model (moving averages, buffers), which else goes from file to file.

    Raises:
        InvalidInput: something is at `target`, or a choice that the source does not give.
        NotFound: there is nothing at `source`.
        WeightsError: the source is not a model that is read here.
    """
    if target.exists():
        raise InvalidInput(f"{target} is there already, and is not overwritten. Choose another name.")
    checkpoint = open_model(source, choices)
    networks = build(checkpoint)
    receipt = _receipt(checkpoint, changed=_changes(checkpoint, dtype, choices or Choices()))
    about, notices = checkpoint.about, checkpoint.notices
    if layout == "ldm":
        extras = {} if prune else checkpoint.extras
        save_file(target, networks, about, dtype=dtype, receipt=receipt, extras=extras, notices=notices)
    else:
        save_folder(target, networks, about, dtype=dtype, receipt=receipt, notices=notices)
    return open_model(target)


def _changes(checkpoint: Checkpoint, dtype: torch.dtype | None, choices: Choices) -> bool:
    """Return whether the result is another model than the one that its maker gave out, or that was put together."""
    dtypes = {p.file.entries[name].dtype for p in checkpoint.components.values() for name in p.names.values()}
    return bool(choices.ema or choices.prediction or (dtype and dtypes != {dtype}))


def _receipt(checkpoint: Checkpoint, *, changed: bool) -> Receipt | None:
    """Return the receipt of the result: the model's own while it stays the same, else one that names what it was."""
    own = checkpoint.receipt
    if not changed:
        return own
    name = checkpoint.about.name
    converted = (Parent(name=name, identity=checkpoint.digest, role="converted"),)
    return Receipt(
        kind="conversion",
        name=name,
        # What was put together for this conversion alone is nowhere to be found: its parts are.
        parents=own.parents if own and checkpoint.substitute else converted,
        corpora=own.corpora if own else (),
        code=f"impasto {__version__}",
        licence=own.licence if own else None,
    )
