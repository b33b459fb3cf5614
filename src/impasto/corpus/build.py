"""Builds a corpus from its plan: read, judge, draw, deduplicate, split, write."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import impasto
from impasto.corpus import dedup, merkle, store
from impasto.corpus.candidates import Raster, Svg
from impasto.corpus.dedup import Fingerprint
from impasto.corpus.plan import CorpusPlan
from impasto.corpus.policy import Policy
from impasto.corpus.record import Refused, Row, Work
from impasto.corpus.render import Rendered, render_all
from impasto.corpus.sources import Place
from impasto.errors import CorpusError, InvalidPlan


@dataclass(frozen=True)
class Progress:
    """How far a build is.

    Attributes:
        stage: what it does: `read`, `draw`, `compare`, `write`.
        done: works done in this stage.
        total: works in this stage; None while it is not known.
    """

    stage: str
    done: int
    total: int | None = None


@dataclass(frozen=True)
class Draft:
    """A corpus in the making."""

    rows: list[Row] = field(default_factory=list)
    prints: list[Fingerprint] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    def refuse(self, work: Work, rule: str, reason: str) -> None:
        """Note that `work` is left out."""
        bare = Work.model_validate({name: getattr(work, name) for name in Work.model_fields})
        self.refused.append(Refused(work=bare, rule=rule, reason=reason))


def build(plan_file: Path, output: Path, archive: Path | None = None, workers: int | None = None) -> Iterator[Progress]:
    """Build the corpus of `plan_file` in the folder `output`; the caller drives, and sees how far it is.

    Args:
        plan_file: TOML, see `CorpusPlan`.
        output: a new folder, or a corpus that is replaced once the new one is whole.
        archive: tarball of the plan's package, instead of fetching it.
        workers: processes that draw; None means one a core. A script that uses several needs `if __name__ ==
            "__main__":`, since each process imports it.

    Raises:
        InvalidPlan: the plan or its policy does not parse.
        SourceUnavailable: a source is not there or not what was pinned.
        CorpusError: `output` holds something else, or nothing was admitted.
    """
    plan = CorpusPlan.read_toml(plan_file, InvalidPlan)
    policy_file = plan_file.parent / plan.policy
    policy = Policy.read_toml(policy_file, InvalidPlan)
    texts = {"plan.toml": plan_file.read_text("utf-8"), "policy.toml": policy_file.read_text("utf-8")}
    store.check_writable(output)
    draft = Draft()
    works = yield from _read(plan, policy, Place(plan_file.parent, archive), draft)
    yield from _draw(works, plan.size, workers or os.cpu_count() or 1, policy, draft)
    yield Progress("compare", 0, len(draft.rows))
    rows = split(plan, without_repeats(draft, policy))
    yield Progress("compare", len(draft.rows), len(draft.rows))
    if not rows:
        raise CorpusError(
            f"Nothing in {plan_file} was admitted by {policy_file}; see the reasons with a looser policy."
        )
    yield Progress("write", 0, len(rows))
    kept = {row.id: draft.images[row.id] for row in rows}
    store.write(output, _manifest(plan, policy, rows, draft.refused, kept), texts, rows, draft.refused, kept.items())
    yield Progress("write", len(rows), len(rows))


def _read(
    plan: CorpusPlan, policy: Policy, place: Place, draft: Draft
) -> Generator[Progress, None, list[tuple[Work, Svg | Raster]]]:
    """Gather what is to be drawn; what can be refused unseen is refused here."""
    works: list[tuple[Work, Svg | Raster]] = []
    keys: set[str] = set()
    for source in plan.sources:
        for number, candidate in enumerate(source.candidates(place)):
            work = candidate.work
            if work.key in keys:
                raise InvalidPlan(
                    f"{work.key} is offered twice; give the sources of the plan different collection names."
                )
            keys.add(work.key)
            if refusal := candidate.refusal or policy.admits(work):
                draft.refuse(work, refusal.rule, refusal.reason)
            elif candidate.drawing is not None:
                works.append((work, candidate.drawing))
            if number % 1000 == 0:
                yield Progress("read", len(keys))
    yield Progress("read", len(keys), len(keys))
    return works


def _draw(
    works: list[tuple[Work, Svg | Raster]], size: int | None, workers: int, policy: Policy, draft: Draft
) -> Iterator[Progress]:
    drawn = render_all([drawing for _, drawing in works], size, workers)
    for number, ((work, _), result) in enumerate(zip(works, drawn, strict=True), start=1):
        if isinstance(result, Rendered):
            row = Row(**{name: getattr(work, name) for name in Work.model_fields}, image=result.image)
            refusal = policy.admits(row)
        else:
            refusal = result
        if refusal:
            draft.refuse(work, refusal.rule, refusal.reason)
        elif isinstance(result, Rendered):
            draft.rows.append(row)
            draft.prints.append(result.fingerprint)
            draft.images[row.id] = result.data
        if number % 100 == 0 or number == len(works):
            yield Progress("draw", number, len(works))


def without_repeats(draft: Draft, policy: Policy) -> list[Row]:
    """Return the rows that are kept when near duplicates go; those that go are noted as refused."""
    bounds = policy.near_duplicates
    if bounds is None:
        return draft.rows
    firsts = dedup.near_duplicates(draft.prints, bounds.bits, bounds.difference)
    for row, first in zip(draft.rows, firsts, strict=True):
        if first is not None:
            kept = draft.rows[first]
            draft.refuse(row, "near-duplicate", f"Repeats {kept.key} ({kept.id}).")
    return [row for row, first in zip(draft.rows, firsts, strict=True) if first is None]


def split(plan: CorpusPlan, rows: list[Row]) -> list[Row]:
    """Return `rows` with the pairs held out that the plan asks for."""
    if plan.held_out is None:
        return rows
    collections = frozenset().union(*(source.held_out_from for source in plan.sources))
    held = plan.held_out.choose(rows, collections)
    return [
        row.model_copy(update={"split": "held-out"}) if (row.concept, row.source.collection) in held else row
        for row in rows
    ]


def _manifest(
    plan: CorpusPlan, policy: Policy, rows: list[Row], refused: list[Refused], images: dict[str, bytes]
) -> store.Manifest:
    return store.Manifest(
        name=plan.name,
        root=merkle.root([merkle.leaf_hash(row.leaf()) for row in store.canonical_order(rows)]),
        refused_root=store.refused_root(refused),
        rows=len(rows),
        refused=len(refused),
        images_bytes=sum(map(len, images.values())),
        size=plan.size,
        policy=policy.digest,
        plan=plan.digest,
        builder={"impasto": impasto.__version__, "resvg-py": version("resvg_py"), "pillow": version("pillow")},
    )
