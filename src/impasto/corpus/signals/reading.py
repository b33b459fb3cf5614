"""What a signal says, before it is known when it was seen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from impasto.corpus.record import Signal

Verdict = Literal["allow", "deny", "absent", "unknown"]

STRICTEST_FIRST: tuple[Verdict, ...] = ("deny", "unknown", "allow", "absent")

RAW_LENGTH = 2000  # characters of a signal's own words that are kept


class Reading(NamedTuple):
    """What a signal says of training on a work.

    Attributes:
        verdict: `allow` (said in so many words), `deny`, `absent` (nothing is said), `unknown` (not readable).
        raw: the words that were read; empty when there were none.
    """

    verdict: Verdict
    raw: str = ""

    def seen(self, kind: str, at: str) -> Signal:
        """Return the signal as a row keeps it.

        Args:
            kind: one of `precedence.KINDS`.
            at: time (RFC 3339).
        """
        return Signal(kind=kind, raw=self.raw[:RAW_LENGTH], verdict=self.verdict, seen_at=at)


ABSENT = Reading("absent")


def strictest(readings: Iterable[Reading]) -> Reading:
    """Return what several statements of one signal come to: the most restrictive, with the words of all."""
    said = list(readings)
    verdicts = {"absent", *(reading.verdict for reading in said)}
    verdict = next(verdict for verdict in STRICTEST_FIRST if verdict in verdicts)
    return Reading(verdict, " | ".join(reading.raw for reading in said if reading.raw))
