"""From a recipe to a picture."""

from __future__ import annotations

from impasto.pipeline.loading import DTYPES, find_device, load
from impasto.pipeline.model import Model, batches
from impasto.pipeline.picture import Picture, Progress
from impasto.pipeline.words import REMEMBERED_TEXTS, Words
from impasto.weights.home import NAMES

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
]
