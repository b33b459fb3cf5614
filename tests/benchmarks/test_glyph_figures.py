from __future__ import annotations

import pytest
from scipy import stats

from benchmarks import figures
from benchmarks.figures import Bound, Figure, JudgeUse, Report
from impasto.receipt import Environment

DIGEST = "sha256:" + "ab" * 32


def report(*found: Figure, quick: bool = False) -> Report:
    return Report(
        model="glyph",
        model_digest=DIGEST,
        settings={"steps": 25, "sampler": "dpmpp_2m"},
        judge=JudgeUse(weights=DIGEST, training=DIGEST),
        corpus=DIGEST,
        selection=DIGEST,
        learned_from_selection=True,
        concepts=200,
        seed=0,
        quick=quick,
        pictures=7,
        environment=Environment(),
        figures=found,
        notes=("Mind this.",),
    )


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 10), (95, 100), (40, 40)])
def test_wilson_is_scipys(hits: int, n: int) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert figures.wilson(hits, n) == pytest.approx(tuple(expected), abs=1e-6)


def test_nothing_measured_says_nothing() -> None:
    assert figures.wilson(0, 0) == (0, 1)


def test_a_share_is_told_apart_by_groups() -> None:
    figure = figures.share("c.trained", "style", [True, False, True], by=["bb", "aa", "bb"])
    assert figure.value == pytest.approx(2 / 3)
    assert figure.parts == {"aa": 0, "bb": 1}


def test_a_mean_has_its_standard_error() -> None:
    figure = figures.mean("g.psnr", "psnr", [26.0, 28.0, 30.0], "dB")
    assert (figure.low, figure.value, figure.high) == pytest.approx((28 - 2.2632, 28, 28 + 2.2632), abs=1e-3)


def test_the_table_holds_what_was_measured() -> None:
    real = Bound(what="held out", value=0.91, n=40)
    found = figures.share("b.r5", "held-out pairs, R@5", [True] * 6 + [False] * 4, real=real, aim=0.6)
    text = figures.markdown(report(found, figures.mean("g.psnr", "autoencoder", [28.04, 28.04], "dB")))
    assert "| b | held-out pairs, R@5 | 0.600 | 0.313 to 0.832 | 10 | 0.910 (held out) | ≥ 0.600 |" in text
    assert "| g | autoencoder | 28.0 dB |" in text
    assert "steps 25" in text
    assert "- Mind this." in text
    assert "not for publication" not in text
    assert "not for publication" in figures.markdown(report(found, quick=True))


def test_a_report_comes_back_from_json() -> None:
    written = report(figures.share("a.r1", "x", [True]))
    assert Report.parse(written.plain(), "it") == written
