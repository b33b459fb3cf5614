"""A receipt: what an artefact (a model, an adapter, a merge) was made from, by digest, as plain frozen data."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)
from typing_extensions import Self

from impasto.schema import Digest, Frozen, digest

Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class Parent(Frozen):
    """An artefact that this one was made from.

    Attributes:
        name: what people call it.
        identity: its digest.
        role: what it gave: `start` for the weights that training began with, `autoencoder`, `merged`, ...
    """

    name: Text
    identity: Digest
    role: Text


class CorpusUse(Frozen):
    """What an artefact learned from.

    Attributes:
        root: Merkle root of the corpus.
        selection: Merkle root over the rows that were used.
        rows: how many those are.
        policy: digest of the policy that admitted them, or of what a person stated about them.
        bases: how many of them are used by which right, by consent basis; left out of the canonical form where it is
            not known, as in the first receipts.
    """

    root: Digest
    selection: Digest
    rows: Annotated[int, Field(ge=0)]
    policy: Digest
    bases: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_what_is_not_known(self, plain: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        data: dict[str, JsonValue] = plain(self)
        return {key: value for key, value in data.items() if key != "bases" or value}


class PlanUse(Frozen):
    """The plan that was followed, whole, with its digest."""

    identity: Digest
    plan: dict[str, JsonValue]

    @classmethod
    def of(cls, plan: dict[str, JsonValue]) -> PlanUse:
        """Embed `plan` (JSON types)."""
        return cls(identity=digest(plan), plan=plan)

    @model_validator(mode="after")
    def _digest_fits(self) -> Self:
        if (actual := digest(self.plan)) != self.identity:
            raise ValueError(f"the plan's digest is {actual}, not {self.identity}")
        return self


class Environment(Frozen):
    """What the work ran on: it may explain a difference, but is no part of the artefact's identity."""

    python: Text | None = None
    torch: Text | None = None
    system: Text | None = None
    hardware: Text | None = None
    threads: Annotated[int, Field(ge=1)] | None = None


class Receipt(Frozen):
    """What an artefact was made from, by digest.

    Attributes:
        format: version of this format.
        kind: of the artefact; an `assembly` was put together from networks of several models, none of them changed.
        name: what people call it.
        identity: digest of the finished weights and configuration.
        components: digest of each component's tensors, by component (`unet`, `vae`, ...).
        parents: artefacts it was made from; empty when it was made from nothing.
        corpora: what it learned from; empty when no training took place.
        plans: the plans followed, by stage (`autoencoder`, `model`, ...).
        seeds: of every generator that the work used, by purpose.
        code: version of the program that did it.
        licence: SPDX identifier or expression of the artefact.
        started: when the work began.
        finished: when it ended.
        environment: what it ran on.
    """

    format: Literal["impasto-receipt/1"] = "impasto-receipt/1"
    kind: Literal["base", "adapter", "embedding", "merge", "conversion", "assembly"]
    name: Text
    identity: Digest | None = None
    components: dict[str, Digest] = Field(default_factory=dict)
    parents: tuple[Parent, ...] = ()
    corpora: tuple[CorpusUse, ...] = ()
    plans: dict[str, PlanUse] = Field(default_factory=dict)
    seeds: dict[str, Annotated[int, Field(ge=0, le=2**53 - 1)]] = Field(default_factory=dict)
    code: Text
    licence: Text | None = None
    started: datetime | None = None
    finished: datetime | None = None
    environment: Environment | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        moments = [moment for moment in (self.started, self.finished) if moment]
        if any(moment.tzinfo is None for moment in moments):
            raise ValueError("started and finished need a time zone")
        if len(moments) == 2 and moments[0] > moments[1]:
            raise ValueError(f"finished ({self.finished}) lies before started ({self.started})")
        return self

    @property
    def consent(self) -> dict[str, int]:
        """How many works it learned from by which right: rows by consent basis, the most first; `unknown` stays in it.

        `not said` are those of which the receipt does not tell.
        """
        rows: Counter[str] = Counter()
        for use in self.corpora:
            rows.update(use.bases)
            rows["not said"] += max(0, use.rows - sum(use.bases.values()))
        return {basis: count for basis, count in rows.most_common() if count}

    @property
    def essence(self) -> str:
        """Digest without times and environment: the same work done again, elsewhere, has the same essence."""
        return digest(self.model_dump(mode="json", exclude={"started", "finished", "environment"}))
