"""Where long work stands: what generators yield that go through an adapter or a model piece by piece."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Progress(Generic[T]):
    """Where a piece of work stands.

    Attributes:
        done: how many pieces are done, from 1.
        total: how many there are.
        what: the piece that was done last.
        result: what came of it, where this is the last one.
    """

    done: int
    total: int
    what: str
    result: T | None = None


def finished(steps: Iterable[Progress[T]]) -> T:
    """Go through all `steps` and return what came of them."""
    result = None
    for step in steps:
        result = step.result
    assert result is not None, "the last step has the result"
    return result
