"""Denoisers: a network that knows the answer gives the clean picture and has no loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from impasto.diffusion.denoisers import DENOISERS
from impasto.diffusion.schedules import NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear()
T = torch.tensor([0, 250, 999])
CONTEXT = torch.zeros(3, 2, 5)


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    x0, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return x0, noise


def target(name: str, x0: Tensor, noise: Tensor) -> Tensor:
    a = SCHEDULE.alphas_cumprod[T].view(3, 1, 1, 1)
    return {"epsilon": noise, "v_prediction": a.sqrt() * noise - (1 - a).sqrt() * x0}[name]


@pytest.mark.parametrize("name", DENOISERS)
def test_a_network_that_knows(name: str, pair: tuple[Tensor, Tensor]) -> None:
    x0, noise = pair
    answer = target(name, x0, noise)
    denoiser = DENOISERS[name](lambda _x, _t, _context: answer, SCHEDULE)
    sigma = SCHEDULE.sigmas[T]
    torch.testing.assert_close(denoiser(x0 + sigma.view(3, 1, 1, 1) * noise, sigma, CONTEXT), x0, rtol=0, atol=1e-5)
    assert torch.equal(denoiser.loss(x0, noise, T, CONTEXT), torch.zeros(3))


@pytest.mark.parametrize("name", DENOISERS)
def test_the_loss_is_the_mean_square_of_what_is_missed(name: str, pair: tuple[Tensor, Tensor]) -> None:
    x0, noise = pair
    off = target(name, x0, noise) + torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1)
    loss = DENOISERS[name](lambda _x, _t, _context: off, SCHEDULE).loss(x0, noise, T, CONTEXT)
    torch.testing.assert_close(loss, torch.tensor([1.0, 4.0, 9.0]))


@pytest.mark.parametrize("name", DENOISERS)
def test_training_and_sampling_show_the_network_the_same(name: str, pair: tuple[Tensor, Tensor]) -> None:
    x0, noise = pair
    seen: list[tuple[Tensor, Tensor]] = []

    def network(x: Tensor, t: Tensor, _context: Tensor) -> Tensor:
        seen.append((x, t))
        return x

    denoiser = DENOISERS[name](network, SCHEDULE)
    denoiser.loss(x0, noise, T, CONTEXT)
    sigma = SCHEDULE.sigmas[T]
    denoiser(x0 + sigma.view(3, 1, 1, 1) * noise, sigma, CONTEXT)
    (trained_x, trained_t), (sampled_x, sampled_t) = seen
    torch.testing.assert_close(trained_x, sampled_x, rtol=0, atol=1e-5)
    assert torch.equal(trained_t, sampled_t)
    assert trained_t.dtype == sampled_t.dtype == torch.float32


@pytest.mark.parametrize("name", DENOISERS)
def test_the_error_of_x0_and_of_the_target_are_as_error_ratio_says(name: str, pair: tuple[Tensor, Tensor]) -> None:
    x0, noise = pair
    off = target(name, x0, noise) + 0.1
    denoiser, sigma = DENOISERS[name](lambda _x, _t, _context: off, SCHEDULE), SCHEDULE.sigmas[T]
    error = (denoiser(x0 + sigma.view(3, 1, 1, 1) * noise, sigma, CONTEXT) - x0).square().flatten(1).mean(1)
    loss = denoiser.loss(x0, noise, T, CONTEXT)
    torch.testing.assert_close(loss, denoiser.error_ratio(SCHEDULE.snr(T)) * error, rtol=1e-3, atol=0)
