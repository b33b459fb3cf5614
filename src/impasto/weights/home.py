"""The folder that Impasto keeps a person's models in."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

VARIABLE = "IMPASTO_HOME"

PACKAGED = Path(__file__).parents[1]
NAMES = ("glyph",)
"""Models that come with Impasto, each a folder in the package."""


def home() -> Path:
    """Return the folder: that of the variable `IMPASTO_HOME`, or the system's place for what programs keep."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else platformdirs.user_data_path("impasto", appauthor=False)
