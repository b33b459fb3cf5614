"""The plan of a corpus: which sources, drawn at what size, under which policy, and what is held out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny, field_validator

from impasto.corpus.sources import SOURCES, Source
from impasto.corpus.split import HeldOut
from impasto.schema import Frozen


class CorpusPlan(Frozen):
    """A corpus plan, read from TOML.

    Attributes:
        name: of the corpus.
        policy: path of the policy, relative to the plan.
        size: side in pixels of the square every image is fitted to; None keeps image files as they are.
        sources: in order of priority.
        held_out: None trains on every row.
    """

    name: str
    policy: Path
    size: int | None = Field(default=None, ge=16, le=4096)
    sources: tuple[SerializeAsAny[Source], ...]
    held_out: HeldOut | None = None

    @field_validator("sources", mode="before")
    @classmethod
    def _by_kind(cls, sections: Any) -> Any:
        return tuple(_source(section) for section in sections) if isinstance(sections, (list, tuple)) else sections


def _source(section: Any) -> Any:
    if not isinstance(section, Mapping):
        return section
    kind = section.get("kind")
    if kind not in SOURCES:
        raise ValueError(f"unknown kind of source {kind!r}; choose one of {', '.join(sorted(SOURCES))}")
    return SOURCES[kind].model_validate(section)
