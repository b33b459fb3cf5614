from __future__ import annotations

from typing import Any

import pytest
import torch

from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.vae import AutoencoderKL
from impasto.training.latents import Variants
from impasto.training.text_to_image import LatentData, Latents, ModelTask
from tests.corpus.icons import row
from tests.training import tiny


def task(**changes: Any) -> ModelTask:
    plan = tiny.model_plan(**changes)
    variants = Variants.draw(torch.ones(5, dtype=torch.bool), 4, seed=0)
    values = torch.randn(5, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    latents = Latents(tuple(row() for _ in range(5)), values, variants)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKL(plan.spec.vae).eval()
    return ModelTask(plan, CLIPTokenizer.packaged(100), vae, LatentData(latents, latents, "data"))


def value(built: ModelTask, step: int) -> float:
    return built.loss(step).value.item()


def test_the_loss_of_a_step_depends_on_the_step_alone() -> None:
    one, other = task(), task()
    first = [value(one, step) for step in (0, 1, 2)]
    assert [value(other, step) for step in (2, 1, 0)] == first[::-1]
    assert len(set(first)) == 3


def test_fresh_modules_predict_nothing_so_the_error_is_the_targets_own() -> None:
    built = task(steps=2, stages=[{"size": 32, "batch": 64, "steps": 2}], weighting="uniform")
    assert value(built, 0) == pytest.approx(1.0, abs=0.15)  # v of standard normal latents has variance 1


def test_times_lie_in_a_bell_where_the_plan_puts_it() -> None:
    draw = torch.Generator().manual_seed(0)
    times = task(times="logit-normal", times_mean=-1.0)._times(4000, draw)
    assert times.min() >= 0
    assert times.max() <= 999
    share = torch.tensor(-1.0).sigmoid().item()
    assert times.float().median() / 1000 == pytest.approx(share, abs=0.02)
    even = task()._times(4000, draw)
    assert even.float().mean() == pytest.approx(499.5, abs=15)


def test_weights_are_those_of_the_table() -> None:
    plain, weighted = task(weighting="uniform"), task(weighting="min-snr")
    assert value(plain, 0) == pytest.approx(plain.loss(0).parts["error"])
    assert value(weighted, 0) != pytest.approx(weighted.loss(0).parts["error"])


def test_validation_is_the_same_at_every_call() -> None:
    built = task()
    assert built.validate(built.modules) == built.validate(built.modules)
