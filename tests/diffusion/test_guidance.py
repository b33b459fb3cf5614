"""Classifier-free guidance: one call, the right halves, the right sum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from impasto.diffusion.denoisers import DENOISERS
from impasto.diffusion.guidance import Guided, Rescaled, Within
from impasto.diffusion.schedules import NoiseSchedule
from impasto.errors import InvalidInput

X = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
SIGMA = torch.tensor([1.0, 2.0, 3.0])


class Recorder:
    """A denoiser whose x0 is the mean of its context, and that keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        self.calls.append((x, sigma, context))
        return context.mean((1, 2)).view(-1, 1, 1, 1).expand_as(x)


@pytest.mark.parametrize("rows", [1, 3])
def test_one_call_of_both_halves(rows: int) -> None:
    denoiser = Recorder()
    context = torch.arange(1.0, rows + 1).view(rows, 1, 1).expand(rows, 5, 2)
    x0 = Guided(denoiser, context, torch.full((1, 5, 2), -1.0), 7.5)(X, SIGMA)
    ((x, sigma, both),) = denoiser.calls
    assert torch.equal(x, torch.cat([X, X]))
    assert torch.equal(sigma, torch.cat([SIGMA, SIGMA]))
    assert torch.equal(both, torch.cat([torch.full((3, 5, 2), -1.0), context.expand(3, 5, 2)]))
    expected = (-1 + 7.5 * (context.expand(3, 5, 2).mean((1, 2)) + 1)).view(3, 1, 1, 1).expand_as(X)
    torch.testing.assert_close(x0, expected)


def test_scale_one_asks_for_the_prompt_alone() -> None:
    denoiser = Recorder()
    Guided(denoiser, torch.ones(1, 5, 2), torch.zeros(1, 5, 2), 1.0)(X, SIGMA)
    ((x, _, context),) = denoiser.calls
    assert torch.equal(x, X)
    assert torch.equal(context, torch.ones(3, 5, 2))


def test_scale_zero_gives_the_negative() -> None:
    x0 = Guided(Recorder(), torch.ones(1, 5, 2), torch.full((3, 5, 2), -2.0), 0.0)(X, SIGMA)
    assert torch.equal(x0, torch.full_like(X, -2.0))


def test_prompts_that_do_not_match_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"\(1, 5, 2\) and \(1, 10, 2\)"):
        Guided(Recorder(), torch.ones(1, 5, 2), torch.zeros(1, 10, 2), 7.5)
    with pytest.raises(InvalidInput, match="2 contexts for 3 pictures"):
        Guided(Recorder(), torch.ones(2, 5, 2), torch.zeros(1, 5, 2), 7.5)(X, SIGMA)


class Mixed:
    """A network whose output depends on x, on t and on the context."""

    def __call__(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return (x + 0.01 * t.view(-1, 1, 1, 1)).sin() + context.mean((1, 2)).view(-1, 1, 1, 1) * x.cos()


def guided(name: str, scale: float) -> tuple[Guided, Any]:
    denoiser = DENOISERS[name](Mixed(), NoiseSchedule.scaled_linear())
    return Guided(denoiser, torch.full((1, 5, 2), 0.8), torch.full((1, 5, 2), -0.3), scale), denoiser


@pytest.mark.parametrize("name", DENOISERS)
def test_rescaled_wholly_has_the_spread_of_the_prompt_alone(name: str) -> None:
    plain, denoiser = guided(name, 9.0)

    def output(x0: Tensor) -> Tensor:
        c_skip, c_out, _ = (c.view(-1, 1, 1, 1) for c in denoiser.scalings(SIGMA))
        return (x0 - c_skip * X) / c_out

    x0 = Rescaled(plain, denoiser.scalings, 1.0)(X, SIGMA)
    spread, alone = (output(found).flatten(1).std(1) for found in (x0, plain.alone(X, SIGMA)))
    torch.testing.assert_close(spread, alone)
    # It is a factor on the network's output, one a picture.
    ratio = output(x0) / output(plain(X, SIGMA))
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio), rtol=1e-3, atol=0)


def test_rescaled_by_nothing_or_without_guidance_changes_nothing() -> None:
    plain, denoiser = guided("v_prediction", 9.0)
    assert torch.equal(Rescaled(plain, denoiser.scalings, 0.0)(X, SIGMA), plain(X, SIGMA))
    one, denoiser = guided("v_prediction", 1.0)
    assert torch.equal(Rescaled(one, denoiser.scalings, 0.7)(X, SIGMA), one(X, SIGMA))


@pytest.mark.parametrize(("level", "inside"), [(0.5, False), (1.0, False), (1.01, True), (3.0, True), (3.01, False)])
def test_guidance_is_kept_within_its_interval(level: float, inside: bool) -> None:
    plain, denoiser = guided("epsilon", 5.0)
    sigma = torch.full((3,), level)
    for kind in (plain, Rescaled(plain, denoiser.scalings)):
        x0 = Within(kind, 1.0, 3.0)(X, sigma)
        assert torch.equal(x0, kind(X, sigma) if inside else plain.alone(X, sigma))
        assert torch.equal(Within(kind)(X, sigma), kind(X, sigma))


def test_outside_the_interval_the_network_is_asked_once() -> None:
    denoiser = Recorder()
    Within(Guided(denoiser, torch.ones(1, 5, 2), torch.zeros(1, 5, 2), 5.0), 0.0, 0.5)(X, torch.full((3,), 1.0))
    ((x, _, _),) = denoiser.calls
    assert torch.equal(x, X)


def test_what_is_no_guidance_is_refused() -> None:
    plain, denoiser = guided("epsilon", 5.0)
    with pytest.raises(InvalidInput, match=r"from 0 to 1, not 1.5"):
        Rescaled(plain, denoiser.scalings, 1.5)
    with pytest.raises(InvalidInput, match="is empty"):
        Within(plain, 3.0, 1.0)
    with pytest.raises(InvalidInput, match="same noise level"):
        Within(plain, 1.0, 2.5)(X, SIGMA)
