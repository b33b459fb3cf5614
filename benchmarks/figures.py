"""Figures with their intervals, the report that holds them, and the table that people read."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Literal

from pydantic import Field

from impasto.receipt import Environment
from impasto.schema import Digest, Frozen

Z = 1.959964  # two-sided 95 %

Unit = Literal["share", "dB", "ratio"]


class Bound(Frozen):
    """The same measurement of real drawings.

    Attributes:
        what: which drawings.
        value: measured.
        n: how many.
    """

    what: str
    value: float
    n: int


class Figure(Frozen):
    """One measured value.

    Attributes:
        name: letter of the measurement and a word: `a.r5`.
        what: in words.
        unit: shares lie between 0 and 1.
        value: measured.
        low: lower end of the 95 % interval.
        high: upper end.
        n: how many pictures it is taken over.
        real: the same of real drawings, where it can be had.
        aim: what is aimed at.
        parts: the value by collection, colour or the like.
    """

    name: str
    what: str
    unit: Unit
    value: float
    low: float
    high: float
    n: int
    real: Bound | None = None
    aim: float | None = None
    parts: dict[str, float] = Field(default_factory=dict)


class JudgeUse(Frozen):
    """Which judge it was.

    Attributes:
        weights: digest of its weights.
        training: digest of its plan and of the rows it learned from.
    """

    weights: Digest
    training: Digest


class Report(Frozen):
    """What a run of the benchmark found.

    Attributes:
        format: version of this format.
        model: name of the model.
        model_digest: its identity.
        settings: that the pictures were made with.
        judge: that judged them.
        corpus: Merkle root of the corpus.
        selection: Merkle root of the training rows that the plan selects.
        learned_from_selection: whether the model's receipt names these very rows.
        concepts: among how many concepts the asked one was to be recognised.
        seed: that all choices and pictures follow from.
        quick: whether only a part was measured: never to be published.
        pictures: how many were made.
        environment: that it ran on.
        figures: what was found.
        notes: what a reader has to know.
    """

    format: Literal["impasto-glyph-benchmark/1"] = "impasto-glyph-benchmark/1"
    model: str
    model_digest: Digest
    settings: dict[str, str | int | float]
    judge: JudgeUse
    corpus: str
    selection: str
    learned_from_selection: bool
    concepts: int
    seed: int
    quick: bool
    pictures: int
    environment: Environment
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()


def wilson(hits: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share of `hits` among `n` (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    p, shrink = hits / n, 1 + Z**2 / n
    middle = (p + Z**2 / (2 * n)) / shrink
    half = Z / shrink * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half))  # rounding must not leave p outside


def share(
    name: str,
    what: str,
    hits: Sequence[bool],
    *,
    real: Bound | None = None,
    aim: float | None = None,
    by: Sequence[str] = (),
) -> Figure:
    """Return the share of `hits` as a figure, also for each of the groups that `by` names."""
    low, high = wilson(sum(hits), len(hits))
    value = fmean(map(float, hits)) if hits else 0.0
    return Figure(
        name=name,
        what=what,
        unit="share",
        value=value,
        low=low,
        high=high,
        n=len(hits),
        real=real,
        aim=aim,
        parts=_grouped(hits, by),
    )


def mean(
    name: str, what: str, values: Sequence[float], unit: Unit, *, real: Bound | None = None, aim: float | None = None
) -> Figure:
    """Return the mean of `values` as a figure, with 1.96 standard errors either way."""
    value = fmean(values)
    error = Z * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Figure(
        name=name,
        what=what,
        unit=unit,
        value=value,
        low=value - error,
        high=value + error,
        n=len(values),
        real=real,
        aim=aim,
    )


def bound(what: str, hits: Sequence[bool] | Sequence[float]) -> Bound:
    """Return what the same measurement gives on real drawings."""
    return Bound(what=what, value=fmean(map(float, hits)) if hits else 0.0, n=len(hits))


def markdown(report: Report) -> str:
    """Return the figures of `report` as a table in Markdown, with what they were measured with below it."""
    lines = ["| | | Glyph | 95 % interval | n | real drawings | aim |", "|---|---|---|---|---|---|---|"]
    for figure in report.figures:
        real = f"{_said(figure.real.value, figure.unit)} ({figure.real.what})" if figure.real else ""
        aim = f"≥ {_said(figure.aim, figure.unit)}" if figure.aim is not None else ""
        interval = f"{_said(figure.low, figure.unit)} to {_said(figure.high, figure.unit)}"
        cells = (
            figure.name.partition(".")[0],
            figure.what,
            _said(figure.value, figure.unit),
            interval,
            f"{figure.n:,}",
            real,
            aim,
        )
        lines.append(f"| {' | '.join(cells)} |")
    settings = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    quick = ["", "**A quick look at a part of the questions: not for publication.**"] if report.quick else []
    about = (
        f"Model `{report.model_digest[7:19]}` ({settings}), judge `{report.judge.weights[7:19]}`, "
        f"corpus `{report.corpus[7:19]}`, seed {report.seed}, {report.pictures:,} pictures."
    )
    return "\n".join([*lines, *quick, "", about, *(f"- {note}" for note in report.notes)]) + "\n"


def _said(value: float, unit: Unit) -> str:
    return f"{value:.1f} dB" if unit == "dB" else f"{value:.3f}"


def _grouped(hits: Sequence[bool], by: Sequence[str]) -> dict[str, float]:
    groups: dict[str, list[float]] = defaultdict(list)
    for hit, name in zip(hits, by, strict=False):
        groups[name].append(float(hit))
    return {name: fmean(groups[name]) for name in sorted(groups)}
