"""Impasto: an open platform for open-weight text-to-image models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import torch

    from impasto.pipeline import Model

__version__ = "0.1.0"


def load(
    model: str | os.PathLike[str] = "glyph",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    vae: str | os.PathLike[str] | None = None,
    ema: bool = False,
    verify: bool = True,
    adapters: Iterable[str | os.PathLike[str]] = (),
    embeddings: Iterable[str | os.PathLike[str]] = (),
) -> Model:
    """Load a model, ready to make pictures.

    Args:
        model: name of a model that comes with Impasto, or the path of one: a diffusers folder or a single file.
        device: that the networks are to be on; `auto` is the first GPU, or the CPU where there is none.
        dtype: of the networks; left out, float32 on the CPU, and as the files have it elsewhere.
        vae: path of an autoencoder, a folder or a single file, to use in the place of the model's own.
        ema: take the moving average of the weights, from a single file that has both.
        verify: compare the model with its receipt, where it has one, which reads all of it the first time.
        adapters: files and folders of adapters, or names of pulled ones, that prompts may call as `<lora:name>`;
            adapters and embeddings that were pulled are there anyway. They are read when they are first called.
        embeddings: the same of embeddings (textual inversions), which prompts name as they are.

    Raises:
        NotFound: neither a name nor a model's path; lists the names.
        ReceiptMismatch: the model is not what its receipt says.
        WeightsError: the model's files cannot be used.
    """
    from impasto.pipeline import load as load_model  # torch comes in here, not with `import impasto`

    return load_model(
        model,
        device=device,
        dtype=dtype,
        vae=vae,
        ema=ema,
        verify=verify,
        adapters=adapters,
        embeddings=embeddings,
    )
