"""From a recipe to a picture."""

from __future__ import annotations

from impasto.pipeline.model import (
    DTYPES,
    NAMES,
    REMEMBERED_TEXTS,
    Model,
    Picture,
    Progress,
    Words,
    batches,
    find_device,
    load,
    start,
)

__all__ = [
    "DTYPES",
    "NAMES",
    "REMEMBERED_TEXTS",
    "Model",
    "Picture",
    "Progress",
    "Words",
    "batches",
    "find_device",
    "load",
    "start",
]
