"""A policy: which works may be trained on. It decides row by row, and gives a reason for every refusal."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from impasto.corpus.record import Basis, Row, Work
from impasto.corpus.signals.precedence import decide
from impasto.schema import Frozen


class Refusal(Frozen):
    """Why a work is not admitted.

    Attributes:
        rule: short name of the rule, for counting: `licence`, `basis`, `flag`, `near-duplicate`.
        reason: one sentence for people.
    """

    rule: str
    reason: str


class Pattern(Frozen):
    """Works refused for what they show. All of the given conditions must hold.

    Attributes:
        rule: short name for counting.
        reason: one sentence for people.
        collections: names of collections; empty means every collection.
        name: regular expression searched for in the key of the work.
        category: regular expression searched for in its category.
    """

    rule: str
    reason: str
    collections: tuple[str, ...] = ()
    name: str | None = None
    category: str | None = None

    @field_validator("name", "category")
    @classmethod
    def _is_regular_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    def matches(self, work: Work) -> bool:
        """Return whether `work` is refused by this pattern."""
        return (
            (not self.collections or work.source.collection in self.collections)
            and (self.name is None or re.search(self.name, work.source.key) is not None)
            and (self.category is None or re.search(self.category, work.category or "") is not None)
        )


class NearDuplicates(Frozen):
    """When two drawings count as one (see `dedup`).

    Attributes:
        bits: largest Hamming distance between perceptual hashes (128 bits: 64 of the drawing on white, 64 of its
            outline).
        difference: largest mean difference of colour in the worst tile of the drawing, 0 to 255.
    """

    bits: int = Field(default=16, ge=0, le=128)
    difference: float = Field(default=8.0, ge=0, le=255)


class Policy(Frozen):
    """Which works may be trained on.

    Attributes:
        name: what the policy is called.
        licences: SPDX identifiers that are admitted; nothing else is.
        refused_licences: reasons for licences that people may expect here.
        bases: consent bases that are admitted. `unknown` cannot be among them.
        patterns: works refused for what they show.
        min_ink: smallest share of pixels that are not transparent.
        near_duplicates: when two drawings count as one; None keeps all.
    """

    name: str
    licences: tuple[str, ...]
    bases: tuple[Basis, ...]
    refused_licences: dict[str, str] = Field(default_factory=dict)
    patterns: tuple[Pattern, ...] = ()
    min_ink: float = Field(default=0.0, ge=0, le=1)
    near_duplicates: NearDuplicates | None = None

    @field_validator("bases")
    @classmethod
    def _never_unknown(cls, bases: tuple[Basis, ...]) -> tuple[Basis, ...]:
        if "unknown" in bases:
            raise ValueError("a work whose basis is unknown is never admitted; take 'unknown' off the list")
        return bases

    def admits(self, work: Work) -> Refusal | None:
        """Return None when `work` may be trained on, else the first reason against it.

        A `Row` is also judged by its image; near duplicates are found by comparing rows, see `dedup`.
        """
        return (
            self._by_right(work) or self._by_content(work) or (self._by_image(work) if isinstance(work, Row) else None)
        )

    def _by_right(self, work: Work) -> Refusal | None:
        spdx, basis = work.licence.spdx, work.consent.basis
        decision = decide(work.signals, work.consent, work.licence)
        if decision.refused_by:
            return Refusal(rule="reserved", reason=decision.reason)
        if basis not in self.bases:
            return Refusal(
                rule="basis", reason=f"Consent basis {basis!r} is not one of {', '.join(sorted(self.bases))}."
            )
        if spdx in self.refused_licences:
            return Refusal(rule="licence", reason=f"{spdx}: {self.refused_licences[spdx]}")
        if spdx not in self.licences:
            return Refusal(rule="licence", reason=f"Licence {spdx} is not one of {', '.join(sorted(self.licences))}.")
        return None

    def _by_content(self, work: Work) -> Refusal | None:
        found = next((pattern for pattern in self.patterns if pattern.matches(work)), None)
        return Refusal(rule=found.rule, reason=found.reason) if found else None

    def _by_image(self, row: Row) -> Refusal | None:
        if row.image.ink < self.min_ink:
            return Refusal(rule="empty", reason=f"Only {row.image.ink:.2%} of its pixels are drawn on.")
        return None
