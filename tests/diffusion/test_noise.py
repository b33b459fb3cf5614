"""Per-image noise: a picture's numbers are its seed's, whatever is beside it."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from impasto.diffusion.noise import ImageNoise
from impasto.errors import InvalidInput

seeds = st.integers(0, 2**64 - 1)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))


def draws(noise: ImageNoise, count: int = 3) -> list[Tensor]:
    return [noise.initial(), *(noise(float(i + 1), float(i)) for i in reversed(range(count)))]


@given(batch=st.lists(seeds, min_size=1, max_size=6), shape=shapes)
def test_a_picture_is_the_same_alone(batch: list[int], shape: tuple[int, int, int]) -> None:
    together = draws(ImageNoise(batch, shape))
    for k, seed in enumerate(batch):
        for drawn, alone in zip(together, draws(ImageNoise([seed], shape)), strict=True):
            assert drawn.shape == (len(batch), *shape)
            assert torch.equal(drawn[k], alone[0])


@given(seed=st.integers(0, 2**32 - 10), count=st.integers(2, 8))
def test_every_seed_and_every_draw_is_new(seed: int, count: int) -> None:
    pictures = [picture for draw in draws(ImageNoise(range(seed, seed + count), (4, 8, 8))) for picture in draw]
    assert not any(torch.equal(a, b) for a, b in combinations(pictures, 2))


def test_the_numbers_are_torchs_own() -> None:
    noise = ImageNoise([42], (4, 64, 64))
    generator = torch.Generator("cpu").manual_seed(42)
    assert torch.equal(noise.initial()[0], torch.randn(4, 64, 64, generator=generator))
    assert torch.equal(noise(1.0, 0.5)[0], torch.randn(4, 64, 64, generator=generator))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    draws(ImageNoise([1, 2], (4, 8, 8)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [[], [-1], [0, 2**64]])
def test_wrong_seeds_are_refused(wrong: list[int]) -> None:
    with pytest.raises(InvalidInput, match="one seed or more"):
        ImageNoise(wrong, (4, 8, 8))
