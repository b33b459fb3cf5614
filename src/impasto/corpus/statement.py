"""What a person says of a folder of pictures: who made them, under which licence, and by what right they are used."""

from __future__ import annotations

from typing_extensions import Self

from impasto.corpus.record import Basis
from impasto.errors import InvalidInput
from impasto.schema import Frozen

UNKNOWN = "unknown"
OWNER = "the person who ran the training"


class Statement(Frozen):
    """What was said. It stands for rows whose own table says nothing else.

    Attributes:
        basis: by what right the pictures are used; `unknown` when nobody said so, and that stays visible in everything
            that is made from them.
        maker: who made them.
        licence: SPDX expression, or `unknown`.
    """

    basis: Basis = "unknown"
    maker: str = UNKNOWN
    licence: str = UNKNOWN

    @classmethod
    def of(cls, *, mine: bool, licence: str | None, maker: str | None) -> Self:
        """Return what the options of the command line say.

        Raises:
            InvalidInput: a licence is stated without its maker.
        """
        if mine:
            return cls(basis="owner", maker=maker or OWNER, licence=licence or UNKNOWN)
        if licence and not maker:
            raise InvalidInput(f"--licence {licence} needs --maker NAME: who gave the pictures that licence?")
        return cls(basis="licence" if licence else "unknown", maker=maker or UNKNOWN, licence=licence or UNKNOWN)
