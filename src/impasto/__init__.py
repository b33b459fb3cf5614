"""Impasto: an open platform for open-weight text-to-image models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    import torch

    from impasto.pipeline import Model

__version__ = "0.1.0"


def load(
    model: str | os.PathLike[str] = "glyph", *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> Model:
    """Load a model, ready to make pictures.

    Args:
        model: name of a model that comes with Impasto, or the path of a diffusers folder.
        device: that the networks are to be on; `auto` is the first GPU, or the CPU where there is none.
        dtype: of the networks; left out, float32 on the CPU, and as the files have it elsewhere.

    Raises:
        NotFound: neither a name nor a folder with a model in it; lists the names.
        WeightsError: the folder's files cannot be used.
    """
    from impasto.pipeline import load as load_model  # torch comes in here, not with `import impasto`

    return load_model(model, device=device, dtype=dtype)
