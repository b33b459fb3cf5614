"""Names of tensors read and written as tables: a row says what a part of ours is called in files of another project.

One engine reads every table in both directions, so that writing what was read gives the file again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from impasto.weights.files import Entry

Value = TypeVar("Value")


@dataclass(frozen=True)
class Row:
    """A tensor, or a module with all that is in it, under both names.

    Attributes:
        ours: its name here. Several names, and theirs is one tensor that holds ours one after the other along its
            first side.
        theirs: its name there.
        ones: how many more sides, of length 1, theirs has at its end: 2 for a 1x1 convolution that is linear here.
    """

    ours: str | tuple[str, ...]
    theirs: str
    ones: int = 0

    @property
    def parts(self) -> tuple[str, ...]:
        """Our names, however many."""
        return (self.ours,) if isinstance(self.ours, str) else self.ours


def within(rows: Iterable[Row], ours: str, theirs: str) -> list[Row]:
    """Return `rows` inside a module that is called `ours` here and `theirs` there."""
    return [Row(tuple(ours + part for part in row.parts), theirs + row.theirs, row.ones) for row in rows]


class NameTable:
    """Rows in both directions. The longest name that fits decides; what comes after it stays as it is.

    Raises:
        ValueError: a name stands in two rows.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._theirs: dict[str, Row] = {}
        self._ours: dict[str, tuple[Row, int]] = {}
        for row in rows:
            if row.theirs in self._theirs or any(part in self._ours for part in row.parts):
                raise ValueError(f"two rows name {row.theirs} or {row.ours}")
            self._theirs[row.theirs] = row
            self._ours |= {part: (row, index) for index, part in enumerate(row.parts)}

    def place(self, name: str, prefix: str, entry: Entry) -> tuple[dict[str, str], dict[str, Entry]]:
        """Return what of ours the tensor `name` of theirs is, the table being that of what comes after `prefix`.

        Returns:
            (name of ours) -> (what to call it in messages), and where each of the latter lies. What no row knows keeps
            its name, under which no network has a place for it; what cannot be divided will not fit.
        """
        if (found := _longest(self._theirs, name.removeprefix(prefix))) is None:
            return {name: name}, {name: entry}
        row, rest = found
        if row.ones:
            entry = entry.without_ones(row.ones)
        if len(row.parts) == 1:
            return {row.parts[0] + rest: name}, {name: entry}
        labels = [f"{name}[{index}]" for index in range(len(row.parts))]
        places = {label: entry.part(index, len(labels)) for index, label in enumerate(labels)}
        return {part + rest: label for part, label in zip(row.parts, labels, strict=True)}, places

    def called(self, name: str, prefix: str = "") -> str:
        """Return what parameter `name` of ours is called there, or in which tensor it is; itself if no row knows it."""
        found = _longest(self._ours, name)
        return prefix + found[0][0].theirs + found[1] if found else name

    def write(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return `tensors` of ours under their names and in their shapes.

        Raises:
            KeyError: no row knows one, or some parts of one of theirs are not there.
        """
        result: dict[str, torch.Tensor] = {}
        for name in tensors:
            found = _longest(self._ours, name)
            if found is None:
                raise KeyError(name)
            (row, index), rest = found
            if index:
                continue  # written with the first
            parts = [tensors[part + rest] for part in row.parts]
            tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
            result[row.theirs + rest] = tensor[(...,) + (None,) * row.ones]
        return result


def _longest(table: Mapping[str, Value], name: str) -> tuple[Value, str] | None:
    """Return the value of the longest key that `name` is or lies in, and what comes after the key."""
    end = len(name)
    while end > 0:
        if name[:end] in table:
            return table[name[:end]], name[end:]
        end = name.rfind(".", 0, end)
    return None
