"""Samplers: what each promises, and convergence to a solution derived by hand (parity is in tests/reference).

If data are normal with mean m and deviation s, the denoiser is `D(x; sigma) = m + s^2 / (s^2 + sigma^2) * (x - m)`, the
probability-flow ODE scales `x - m` by `sqrt(s^2 + sigma^2)`, and noised data of level sigma have that deviation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from impasto.diffusion import samplers
from impasto.diffusion.noise import ImageNoise
from impasto.diffusion.samplers import (
    SAMPLERS,
    Noise,
    Sampler,
    Step,
    ddim,
    dpmpp_2m,
    dpmpp_2m_sde,
    euler,
    euler_ancestral,
)
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear()
SHAPE = (4, 8, 8)
MEAN, DEVIATION = 0.3, 0.7
ORDERS = {"euler": 1, "euler_ancestral": 1, "heun": 2, "dpmpp_2m": 2, "dpmpp_2m_sde": 2, "ddim": 1}


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    sigma = sigma.view(-1, 1, 1, 1)
    return MEAN + DEVIATION**2 / (DEVIATION**2 + sigma**2) * (x - MEAN)


def squash(x: Tensor, sigma: Tensor) -> Tensor:
    return (x / (sigma**2 + 1).sqrt().view(-1, 1, 1, 1)).tanh()


def run(name: str, seeds: list[int], sigmas: Tensor) -> list[Step]:
    noise = ImageNoise(seeds, SHAPE)
    return list(SAMPLERS[name](squash, noise.initial() * sigmas[0], sigmas, noise))


@pytest.mark.parametrize("schedule", SIGMAS)
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_steps(name: str, schedule: str, steps: int) -> None:
    sigmas = SIGMAS[schedule](SCHEDULE, steps)
    found = run(name, [1, 2], sigmas)
    assert [step.index for step in found] == list(range(steps))
    assert [step.sigma for step in found] == sigmas[1:].tolist()
    assert all(step.x.shape == step.x0.shape == (2, *SHAPE) and step.x.isfinite().all() for step in found)
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
    assert set(levels) <= set(sigmas[:2].tolist())


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_is_asked_for_within_the_levels_and_never_on_the_way_to_zero(name: str) -> None:
    sigmas, noise = SIGMAS["karras"](SCHEDULE, 4), ImageNoise([3], SHAPE)
    asked: list[tuple[float, float]] = []

    def recorded(sigma: float, sigma_next: float) -> Tensor:
        asked.append((sigma, sigma_next))
        return noise(sigma, sigma_next)

    list(SAMPLERS[name](squash, noise.initial() * sigmas[0], sigmas, recorded))
    assert asked in ([], list(pairwise(sigmas[:-1].tolist())))


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
    *_, last = SAMPLERS[name](lambda x, _: torch.full_like(x, 0.5), noise.initial() * sigmas[0], sigmas, noise)
    torch.testing.assert_close(last.x, torch.full((1, 1, 2, 2), 0.5), rtol=0, atol=1e-4)


def impulse(row: int, rows: int) -> Noise:
    """Noise that is 1 at the n-th draw in row `row + n`, else 0: what comes out are the sampler's coefficients."""
    columns = iter(torch.eye(rows)[row:])
    return lambda _sigma, _sigma_next: next(columns).view(rows, 1, 1, 1)


def deviation_error(sampler: Sampler, steps: int) -> float:
    """Return how far off the deviation of samples is, without drawing any: for normal data a sampler is linear.

    Row 0 of the batch starts at the mean, row 1 one unit above, and row 2 + n gets one unit of noise at the n-th draw.
    """
    rows, low, high = 2 + steps, 0.05, 10.0
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
    assert fine < {1: 2e-2, 2: 1e-3}[ORDERS[name]]


def test_the_documented_example_is_of_second_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "adding-a-sampler.md").read_text(encoding="utf-8")
    names = dict(vars(samplers))
    exec(page.split("```python\n")[1].split("```")[0], names)
    coarse, fine = (deviation_error(names["dpm_2"], steps) for steps in (100, 200))
    assert math.log2(coarse / fine) == pytest.approx(2, abs=0.15)


def test_what_is_the_same_method_gives_the_same() -> None:
    sigmas = SIGMAS["karras"](SCHEDULE, 8)

    def end(sampler: Callable[..., Iterator[Step]], **options: float) -> Tensor:
        noise = ImageNoise([9], SHAPE)
        *_, last = sampler(squash, noise.initial().double() * sigmas[0], sigmas, noise, **options)
        return last.x

    torch.testing.assert_close(end(euler_ancestral, eta=0.0), end(euler))
    torch.testing.assert_close(end(ddim), end(euler))
    torch.testing.assert_close(end(ddim, eta=1.0), end(euler_ancestral))
    torch.testing.assert_close(end(ddim, eta=0.4), end(euler_ancestral, eta=0.4))
    torch.testing.assert_close(end(dpmpp_2m_sde, eta=0.0), end(dpmpp_2m))
