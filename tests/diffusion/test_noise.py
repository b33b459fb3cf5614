"""Per-image noise: a picture's numbers are its seed's, whatever is beside it."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from impasto.diffusion.noise import NOISES, BatchNoise, CudaNoise, ImageNoise, NoiseSource, Variation, centred, slerp
from impasto.diffusion.philox import PhiloxGenerator
from impasto.errors import InvalidInput

seeds = st.integers(0, 2**64 - 1)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))


def draws(noise: NoiseSource, count: int = 3) -> list[Tensor]:
    return [noise.initial(), *(noise(float(i + 1), float(i)) for i in reversed(range(count)))]


@pytest.mark.parametrize("name", NOISES)
@given(batch=st.lists(seeds, min_size=1, max_size=6), shape=shapes)
def test_a_picture_is_the_same_alone(name: str, batch: list[int], shape: tuple[int, int, int]) -> None:
    together = draws(NOISES[name](batch, shape))
    for k, seed in enumerate(batch):
        for drawn, alone in zip(together, draws(NOISES[name]([seed], shape)), strict=True):
            assert drawn.shape == (len(batch), *shape)
            assert torch.equal(drawn[k], alone[0])


@pytest.mark.parametrize("name", NOISES)
@given(seed=st.integers(0, 2**32 - 10), count=st.integers(2, 8))
def test_every_seed_and_every_draw_is_new(name: str, seed: int, count: int) -> None:
    pictures = [picture for draw in draws(NOISES[name](range(seed, seed + count), (4, 8, 8))) for picture in draw]
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


def test_cuda_numbers_are_philoxs_own_and_all_of_a_seed_counts() -> None:
    noise = CudaNoise([42], (4, 8, 8))
    generator = PhiloxGenerator(42)
    assert torch.equal(noise.initial()[0], generator.randn((4, 8, 8)))
    assert torch.equal(noise(1.0, 0.5)[0], generator.randn((4, 8, 8)))
    assert not torch.equal(CudaNoise([0], (4, 8, 8)).initial(), CudaNoise([2**32], (4, 8, 8)).initial())


@pytest.mark.parametrize("kind", [ImageNoise, CudaNoise])
def test_a_delta_moves_the_seed_of_the_steps_only(kind: type[ImageNoise]) -> None:
    plain, moved = kind([5], (4, 8, 8)), kind([5], (4, 8, 8), delta=31337)
    assert torch.equal(plain.initial(), moved.initial())
    assert torch.equal(moved(1.0, 0.5), kind([5 + 31337], (4, 8, 8)).initial())


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_is_one_draw_of_comfyuis(count: int) -> None:
    noise = BatchNoise(42, (4, 8, 8), count)
    assert torch.equal(noise.initial(), torch.randn(count, 4, 8, 8, generator=torch.Generator("cpu").manual_seed(42)))
    steps = torch.Generator("cpu").manual_seed(43)
    for _ in range(2):
        assert torch.equal(noise(1.0, 0.5), torch.randn(count, 4, 8, 8, generator=steps))


def test_a_batch_is_one_generator_of_diffusers() -> None:
    noise, generator = BatchNoise(42, (4, 8, 8), 2, delta=None), torch.Generator("cpu").manual_seed(42)
    for drawn in draws(noise):
        assert torch.equal(drawn, torch.randn(2, 4, 8, 8, generator=generator))


def test_pictures_of_a_batch_can_be_made_alone() -> None:
    whole, some = draws(BatchNoise(42, (4, 8, 8), 4)), draws(BatchNoise(42, (4, 8, 8), 4, rows=[3, 1]))
    assert all(torch.equal(a[[3, 1]], b) for a, b in zip(whole, some, strict=True))
    with pytest.raises(InvalidInput, match=r"batch of 4 has no pictures \[4\]"):
        BatchNoise(42, (4, 8, 8), 4, rows=[4])


@pytest.mark.parametrize("kind", [ImageNoise, CudaNoise])
def test_variations(kind: type[ImageNoise]) -> None:
    shape = (4, 8, 8)
    a, b = (kind([seed], shape).initial()[0] for seed in (5, 6))

    def found(strength: float) -> Tensor:
        return kind([5, 5], shape, [Variation(6, strength), None]).initial()

    assert torch.equal(found(0.0)[0], a)
    torch.testing.assert_close(found(1.0)[0], b)
    torch.testing.assert_close(found(0.3)[0], slerp(a, b, 0.3))
    assert torch.equal(found(0.3)[1], a)
    noise = kind([5], shape, [Variation(6, 0.3)])
    noise.initial()
    plain = kind([5], shape)
    plain.initial()
    assert torch.equal(noise(1.0, 0.5), plain(1.0, 0.5))


@given(t=st.floats(0, 1), seed=st.integers(0, 1000))
def test_slerp_keeps_lengths_between(t: float, seed: int) -> None:
    a, b = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed)).double()
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    torch.testing.assert_close(slerp(a, b, t).norm(dim=1), torch.ones(4, 8, dtype=torch.float64))
    torch.testing.assert_close(slerp(a, b, t), slerp(b, a, 1 - t))


def test_slerp_is_linear_where_both_are_the_same() -> None:
    a = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(slerp(a, 2 * a, 0.25), 1.25 * a)


@pytest.mark.parametrize(
    ("small", "large"), [((4, 6), (8, 8)), ((8, 8), (4, 6)), ((4, 8), (8, 4)), ((5, 7), (8, 8)), ((8, 8), (5, 7))]
)
def test_the_middle_is_kept(small: tuple[int, int], large: tuple[int, int]) -> None:
    noise, canvas = torch.arange(1.0, small[0] * small[1] + 1).view(1, *small), torch.zeros(1, *large)
    found = centred(noise, canvas)
    assert torch.equal(canvas, torch.zeros_like(canvas))
    kept = found[0][found[0] > 0]
    assert len(kept) >= (min(small[0], large[0]) - 1) * (min(small[1], large[1]) - 1)
    middle = noise[0, small[0] // 2, small[1] // 2]
    y, x = (int(k[0]) for k in torch.where(found[0] == middle))
    assert abs(y - large[0] // 2) <= 1
    assert abs(x - large[1] // 2) <= 1


def test_resized_noise_is_that_of_the_other_size_in_the_middle() -> None:
    found = ImageNoise([5], (4, 8, 12), [Variation(resize_from=(4, 6))]).initial()[0]
    small, large = (ImageNoise([5], shape).initial()[0] for shape in ((4, 4, 6), (4, 8, 12)))
    assert torch.equal(found[:, 2:6, 3:9], small)
    assert torch.equal(found[:, :2], large[:, :2])


def test_what_is_no_variation_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"from 0 to 1, not 1\.5"):
        Variation(5, 1.5)
    with pytest.raises(InvalidInput, match="1 variations for 2 seeds"):
        ImageNoise([1, 2], (4, 8, 8), [None])
