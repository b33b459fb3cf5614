"""Brownian noise against torchsde's tree and k-diffusion's noise sampler, bit for bit."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
import torchsde

from impasto.diffusion.brownian import BrownianNoise, BrownianTree
from impasto.diffusion.noise import ImageNoise, torch_numbers
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule

SHAPE = (4, 3, 5)
SEEDS = [0, 7, 2**32 + 5, 2**52 + 1]
LEVELS = SIGMAS["karras"](NoiseSchedule.scaled_linear(), 9)


def trees(low: float, high: float) -> list[BrownianTree]:
    return [BrownianTree(low, high, seed, torch_numbers((1, *SHAPE))) for seed in SEEDS]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_tree_of_torchsde(seed: int) -> None:
    low, high = 0.0291675, 14.614647
    ours = BrownianTree(low, high, seed, torch_numbers(SHAPE))
    theirs = torchsde.BrownianTree(low, torch.zeros(SHAPE), high, entropy=seed)
    times = [low, 0.03, 0.5, 0.500001, 1.0, 3.1415926, 7.3219, 9.999, high]
    for start, end in [*itertools.combinations(times, 2)][::3]:
        assert torch.equal(ours(start, end), theirs(start, end))


@pytest.mark.filterwarnings("ignore:Should have t")  # its tree rounds its own ends, and then finds them outside
def test_the_noise_sampler_of_k_diffusion(k_diffusion: SimpleNamespace) -> None:
    low, high = LEVELS[LEVELS > 0].min(), LEVELS.max()
    theirs = k_diffusion.sampling.BrownianTreeNoiseSampler(torch.zeros(len(SEEDS), *SHAPE), low, high, seed=SEEDS)
    ours = BrownianNoise(ImageNoise(SEEDS, SHAPE), trees(low.item(), high.item()))
    asked = [pair for pair in itertools.pairwise(LEVELS.tolist()) if pair[1]]
    for sigma, sigma_next in [*asked, asked[3], (asked[3][1], asked[3][0])]:
        assert torch.equal(ours(sigma, sigma_next), theirs(torch.tensor(sigma), torch.tensor(sigma_next)))


@pytest.mark.filterwarnings("ignore:Should have t")
def test_one_tree_for_a_whole_batch(k_diffusion: SimpleNamespace) -> None:
    theirs = k_diffusion.sampling.BrownianTreeNoiseSampler(torch.zeros(3, *SHAPE), 0.1, 10.0, seed=5)
    tree = BrownianTree(torch.tensor(0.1).item(), 10.0, 5, torch_numbers((3, *SHAPE)))
    ours = BrownianNoise(ImageNoise([5], SHAPE), [tree], rows=[2])
    assert torch.equal(ours(7.0, 3.0), theirs(torch.tensor(7.0), torch.tensor(3.0))[2:])
