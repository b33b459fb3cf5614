"""What a source hands over: a work with its drawing, or with the reason why it is left out."""

from __future__ import annotations

from dataclasses import dataclass

from impasto.corpus.policy import Refusal
from impasto.corpus.record import Work


@dataclass(frozen=True)
class Svg:
    """A vector drawing, to be rendered."""

    text: str


@dataclass(frozen=True)
class Raster:
    """An image file, as it was found."""

    data: bytes


@dataclass(frozen=True)
class Candidate:
    """A work that a source offers.

    Attributes:
        work: what is known of it.
        drawing: its image; None when the source already refused it.
        refusal: why the source leaves it out.
    """

    work: Work
    drawing: Svg | Raster | None = None
    refusal: Refusal | None = None
