"""Samplers: what each promises, and convergence to a solution derived by hand (parity is in tests/reference).

If data are normal with mean m and deviation s, the denoiser is `D(x; sigma) = m + s^2 / (s^2 + sigma^2) * (x - m)`, the
probability-flow ODE scales `x - m` by `sqrt(s^2 + sigma^2)`, and noised data of level sigma have that deviation.
"""

from __future__ import annotations

import math
from functools import partial
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from impasto.diffusion import ode
from impasto.diffusion.multistep import deis, dpmpp_2m, lms, unipc
from impasto.diffusion.noise import ImageNoise
from impasto.diffusion.ode import dpm_2, euler, heun
from impasto.diffusion.samplers import SAMPLERS, Noise, Sampler, Step
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule
from impasto.diffusion.sde import (
    ddim,
    ddpm,
    dpm_2_ancestral,
    dpmpp_2m_sde,
    dpmpp_2s_ancestral,
    dpmpp_sde,
    euler_ancestral,
    restart,
    restart_intervals,
)

SCHEDULE = NoiseSchedule.scaled_linear()
SHAPE = (4, 8, 8)
MEAN, DEVIATION = 0.3, 0.7
ORDERS = {
    "euler": 1,
    "euler_ancestral": 1,
    "heun": 2,
    "dpm_2": 2,
    "dpm_2_ancestral": 2,
    "lms": 3,  # its first steps are of lower orders, and show when there are many
    "dpmpp_2s_ancestral": 2,
    "dpmpp_2m": 2,
    "dpmpp_sde": 1,  # the noise at the midpoint and that of the step are drawn apart
    "dpmpp_2m_sde": 2,
    "dpmpp_3m_sde": 2,  # as its second step
    "ddpm": 1,
    "ddim": 1,
    "plms": 2,  # its weights are those of equally long steps
    "unipc": 2,  # as its first step
    "deis": 2,
    "lcm": 0,  # not a solver: it trusts x0
    "restart": 2,
}
EXTRAPOLATE = {"lms", "plms"}
"""What goes to 0 along earlier derivatives as well, and so does not end in the last x0."""


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    sigma = sigma.view(-1, 1, 1, 1)
    return MEAN + DEVIATION**2 / (DEVIATION**2 + sigma**2) * (x - MEAN)


def squash(x: Tensor, sigma: Tensor) -> Tensor:
    return (x / (sigma**2 + 1).sqrt().view(-1, 1, 1, 1)).tanh()


def run(name: str, seeds: list[int], sigmas: Tensor) -> list[Step]:
    noise = ImageNoise(seeds, SHAPE)
    return list(SAMPLERS[name](squash, noise.initial() * sigmas[0], sigmas, noise))


@pytest.mark.parametrize(("schedule", "steps"), [("karras", 1), ("karras", 2), *((name, 7) for name in SIGMAS)])
@pytest.mark.parametrize("name", SAMPLERS)
def test_steps(name: str, schedule: str, steps: int) -> None:
    sigmas = SIGMAS[schedule](SCHEDULE, steps)
    found = run(name, [1, 2], sigmas)
    assert [step.index for step in found] == list(range(len(sigmas) - 1))
    assert [step.sigma for step in found] == sigmas[1:].tolist()
    assert all(step.x.shape == step.x0.shape == (2, *SHAPE) and step.x.isfinite().all() for step in found)
    if sigmas[-1] == 0 and name not in EXTRAPOLATE:
        torch.testing.assert_close(found[-1].x, found[-1].x0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_picture_is_the_same_alone_and_again(name: str) -> None:
    sigmas = SIGMAS["karras"](SCHEDULE, 6)
    together = run(name, [5, 6, 7], sigmas)
    alone = run(name, [6], sigmas)
    assert all(
        torch.equal(a.x[1], b.x[0]) and torch.equal(a.x0[1], b.x0[0]) for a, b in zip(together, alone, strict=True)
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_two_runs_side_by_side_do_not_disturb_each_other(name: str) -> None:
    sigmas = SIGMAS["karras"](SCHEDULE, 6)
    noises = [ImageNoise([seed], SHAPE) for seed in (1, 2)]
    runs = [SAMPLERS[name](squash, noise.initial() * sigmas[0], sigmas, noise) for noise in noises]
    interleaved = [[step.x for step in pair] for pair in zip(*runs, strict=True)]
    for k, seed in enumerate((1, 2)):
        assert all(
            torch.equal(pair[k], step.x) for pair, step in zip(interleaved, run(name, [seed], sigmas), strict=True)
        )


@pytest.mark.parametrize("name", SAMPLERS)
def test_arguments_and_earlier_steps_stay_as_they_were(name: str) -> None:
    sigmas, noise = SIGMAS["normal"](SCHEDULE, 5), ImageNoise([3], SHAPE)
    x = noise.initial() * sigmas[0]
    kept = x.clone(), sigmas.clone()
    history = [(step.x, step.x.clone(), step.x0, step.x0.clone()) for step in SAMPLERS[name](squash, x, sigmas, noise)]
    assert torch.equal(x, kept[0])
    assert torch.equal(sigmas, kept[1])
    assert all(torch.equal(x, x_then) and torch.equal(x0, x0_then) for x, x_then, x0, x0_then in history)


@pytest.mark.parametrize("name", SAMPLERS)
def test_nothing_runs_before_it_is_asked_for(name: str) -> None:
    levels: list[float] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        levels.append(sigma[0].item())
        return squash(x, sigma)

    sigmas, noise = SIGMAS["karras"](SCHEDULE, 4), ImageNoise([3], SHAPE)
    steps = SAMPLERS[name](denoise, noise.initial() * sigmas[0], sigmas, noise)
    assert levels == []
    next(steps)
    assert all(sigmas[1] * 0.999 <= level <= sigmas[0] for level in levels)


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_is_asked_for_within_the_levels_and_never_on_the_way_to_zero(name: str) -> None:
    sigmas, noise = SIGMAS["karras"](SCHEDULE, 4), ImageNoise([3], SHAPE)
    asked: list[tuple[float, float]] = []

    def recorded(sigma: float, sigma_next: float) -> Tensor:
        asked.append((sigma, sigma_next))
        return noise(sigma, sigma_next)

    list(SAMPLERS[name](squash, noise.initial() * sigmas[0], sigmas, recorded))
    steps = list(pairwise(sigmas[:-1].tolist()))
    twice = [interval for s, t in steps for interval in ((s, math.sqrt(s * t)), (s, t))]
    expected = twice if name == "dpmpp_sde" else steps
    if asked:  # dpmpp_sde counts in float32, as k-diffusion does
        assert [level for pair in asked for level in pair] == pytest.approx([a for pair in expected for a in pair])
    assert asked or name != "dpmpp_sde"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", SAMPLERS)
def test_pictures_keep_their_precision_and_levels_are_never_half(name: str, dtype: torch.dtype) -> None:
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        assert sigma.shape == (len(x),)
        assert sigma.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        return torch.zeros_like(x)

    sigmas, noise = SIGMAS["karras"](SCHEDULE, 3), ImageNoise([3, 4], SHAPE)
    for step in SAMPLERS[name](denoise, (noise.initial() * sigmas[0]).to(dtype), sigmas, noise):
        assert step.x.dtype == dtype


@pytest.mark.parametrize("name", SAMPLERS)
@given(levels=st.sets(st.floats(2**-7, 2**7, width=32), min_size=1, max_size=9), seed=st.integers(0, 2**32))
def test_any_falling_levels_lead_to_what_the_denoiser_always_says(name: str, levels: set[float], seed: int) -> None:
    sigmas, noise = torch.tensor([*sorted(levels, reverse=True), 0.0]), ImageNoise([seed], (1, 2, 2))
    x = noise.initial().to(torch.float64 if name in EXTRAPOLATE else torch.float32) * sigmas[0]  # or digits are lost
    *_, last = SAMPLERS[name](lambda x, _: torch.full_like(x, 0.5), x, sigmas, noise)
    torch.testing.assert_close(last.x, torch.full_like(x, 0.5), rtol=0, atol=1e-4)


def impulse(row: int, rows: int) -> Noise:
    """Noise that is 1 at the n-th draw in row `row + n`, else 0: what comes out are the sampler's coefficients."""
    columns = iter(torch.eye(rows)[row:])
    return lambda _sigma, _sigma_next: next(columns).view(rows, 1, 1, 1)


def deviation_error(sampler: Sampler, steps: int) -> float:
    """Return how far off the deviation of samples is, without drawing any: for normal data a sampler is linear.

    Row 0 of the batch starts at the mean, row 1 one unit above, and row 2 + n gets one unit of noise at the n-th draw.
    """
    rows, low, high = 2 + 2 * steps, 0.05, 10.0
    ramp = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    sigmas = (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    x = MEAN + torch.eye(rows, dtype=torch.float64)[1].view(rows, 1, 1, 1)
    *_, last = sampler(gaussian, x, sigmas, impulse(2, rows))
    mean, start, *noises = last.x.flatten().tolist()
    assert mean == pytest.approx(MEAN, abs=1e-12)
    variance = (start - mean) ** 2 * (DEVIATION**2 + high**2) + sum((noise - mean) ** 2 for noise in noises)
    return abs(math.sqrt(variance) - math.hypot(DEVIATION, low))


@pytest.mark.parametrize("name", SAMPLERS)
def test_order_of_convergence(name: str) -> None:
    coarse, fine = (deviation_error(SAMPLERS[name], steps) for steps in (100, 200))
    assert math.log2(coarse / fine) == pytest.approx(ORDERS[name], abs=0.15)
    assert fine < {0: 0.3, 1: 2e-2, 2: 1e-3, 3: 1e-5}[ORDERS[name]]


@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (partial(lms, order=2), 2),
        (partial(lms, order=3), 3),
        (partial(deis, order=1), 1),
        (partial(unipc, order=1), 2),  # UniC adds one
        (partial(dpmpp_sde, eta=0.0), 2),
        (partial(dpmpp_2m_sde, solver="heun"), 2),
        (partial(restart, s_noise=1.0), 2),
    ],
)
def test_order_of_convergence_of_options(sampler: Sampler, order: int) -> None:
    coarse, fine = (deviation_error(sampler, steps) for steps in (100, 200))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("options", [{"order": 3}, {"order": 2, "variant": "bh1"}, {"order": 2, "variant": "bh2"}])
def test_correction_is_worth_more_than_an_order(options: dict[str, Any]) -> None:
    assert deviation_error(partial(unipc, **options), 50) < 0.2 * deviation_error(dpmpp_2m, 50)


def test_the_documented_example_is_of_second_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "adding-a-sampler.md").read_text(encoding="utf-8")
    names = dict(vars(ode))
    exec(page.split("```python\n")[1].split("```")[0], names)
    coarse, fine = (deviation_error(names["ralston"], steps) for steps in (100, 200))
    assert math.log2(coarse / fine) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("steps", [1, 7, 19, 20, 21, 35, 36, 50, 101])
@pytest.mark.parametrize("schedule", ["normal", "karras"])
def test_restart_takes_as_many_steps_as_asked_for(schedule: str, steps: int) -> None:
    sigmas = SIGMAS[schedule](SCHEDULE, steps).tolist()
    found = restart_intervals(sigmas)
    assert len(found) == steps
    assert (found[0][0], found[-1][1]) == (pytest.approx(sigmas[0]), 0)
    assert all(sigma > sigma_next for sigma, sigma_next in found)
    rises = [(end, start) for (_, end), (start, _) in pairwise(found) if start > end]
    assert len(rises) == (0 if steps < 20 else 1 if steps < 36 else 2)
    assert all(0.05 < low < 0.2 and 1 < high < 4 for low, high in rises)


def test_restart_keeps_what_it_cannot_restart() -> None:
    sigmas = torch.linspace(0.09, 0.03, 31).tolist()
    assert restart_intervals(sigmas) == list(pairwise(sigmas))


def test_what_is_the_same_method_gives_the_same() -> None:
    sigmas = SIGMAS["karras"](SCHEDULE, 8)

    def end(sampler: Sampler, **options: Any) -> Tensor:
        noise = ImageNoise([9], SHAPE)
        *_, last = sampler(squash, noise.initial().double() * sigmas[0], sigmas, noise, **options)
        return last.x

    torch.testing.assert_close(end(euler_ancestral, eta=0.0), end(euler))
    torch.testing.assert_close(end(ddim), end(euler))
    torch.testing.assert_close(end(ddim, eta=1.0), end(euler_ancestral))
    torch.testing.assert_close(end(ddim, eta=0.4), end(euler_ancestral, eta=0.4))
    torch.testing.assert_close(end(ddpm), end(ddim, eta=1.0))
    torch.testing.assert_close(end(dpm_2_ancestral, eta=0.0), end(dpm_2))
    torch.testing.assert_close(end(dpmpp_2s_ancestral, eta=0.0), end(dpmpp_sde, eta=0.0))
    torch.testing.assert_close(end(dpmpp_2m_sde, eta=0.0), end(dpmpp_2m))
    torch.testing.assert_close(end(lms, order=1), end(euler))
    torch.testing.assert_close(end(deis, order=1), end(euler))
    torch.testing.assert_close(end(restart), end(heun))


@pytest.mark.parametrize("name", [name for name in SAMPLERS if "s_noise" in signature(SAMPLERS[name]).parameters])
def test_noise_is_scaled(name: str) -> None:
    sigmas = SIGMAS["karras"](SCHEDULE, 20)
    churns = "s_churn" in signature(SAMPLERS[name]).parameters
    options = {"eta": 0.5} if name == "ddim" else {"s_churn": 4.0} if churns else {}

    def end(factor: float, s_noise: float) -> Tensor:
        noise = ImageNoise([9], SHAPE)
        x = noise.initial() * sigmas[0]
        *_, last = SAMPLERS[name](squash, x, sigmas, lambda a, b: factor * noise(a, b), s_noise=s_noise, **options)
        return last.x

    torch.testing.assert_close(end(1.25, 1.0), end(1.0, 1.25))
    assert not torch.equal(end(1.0, 1.25), end(1.0, 1.0))
