"""Configurations read from the shapes of tensors, where a file has no other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from impasto.errors import UnsupportedConfig
from impasto.weights.files import Entry


class Shapes:
    """What the shapes of tensors say of the networks they are of.

    Args:
        where: the file, for messages.
        entries: its tensors.
        prefix: that the names asked for have in the file.
    """

    def __init__(self, where: Path, entries: Mapping[str, Entry], prefix: str = "") -> None:
        self.where, self._entries, self._prefix = where, entries, prefix

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._entries

    def __call__(self, name: str, sides: int | None = None) -> tuple[int, ...]:
        """Return the shape of `name`.

        Raises:
            UnsupportedConfig: it is not there, or has not that many sides.
        """
        entry = self._entries.get(self._prefix + name)
        if entry is None or (sides is not None and len(entry.shape) != sides):
            found = f"has the shape {entry.shape}" if entry else "is not there"
            problem = f"the model's shape is read from {self._prefix}{name}, which {found}"
            raise UnsupportedConfig(str(self.where), [problem])
        return entry.shape

    def count(self, pattern: str) -> int:
        """Return how many names there are, one after the other, with 0, 1, 2, ... for the `{}` of `pattern`."""
        return next(number for number in itertools.count() if pattern.replace("{}", str(number)) not in self)
