"""Impasto: an open platform for open-weight text-to-image models."""

from __future__ import annotations

__version__ = "0.1.0"
