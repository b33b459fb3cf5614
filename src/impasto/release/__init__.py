"""How a model is given away: licence rules, the release kit, its signature, and the way to a hub."""

from __future__ import annotations
