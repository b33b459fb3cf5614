"""Philox against the vectors of its authors, and Box-Muller against the numbers that are known of CUDA's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from impasto.diffusion.philox import PhiloxGenerator, philox

# From Random123's kat_vectors, philox4x32 with 10 rounds.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
# `torch.randn(3, 4)` of a CUDA generator with seed 0, as the projects that imitate it print it.
CUDA = """
-0.92466259 -0.42534415 -2.6438457   0.14518388 -0.12086647 -0.57972564
-0.62285122 -0.32838709 -1.07454231 -0.36314407 -1.67105067  2.26550497"""


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "out"), KNOWN)
def test_the_authors_vectors(counter: str, key: str, out: str) -> None:
    c0, c1, c2, c3 = (np.array([word], np.uint32) for word in words(counter))
    k0, k1 = words(key)
    assert [int(word[0]) for word in philox((c0, c1, c2, c3), (k0, k1))] == words(out)


def test_seed_0_gives_the_known_numbers() -> None:
    # A GPU's own float32 arithmetic, and that of each who imitates it, differ in the last digits.
    found = PhiloxGenerator(0).randn((3, 4)).flatten()
    assert found.tolist() == pytest.approx([float(word) for word in CUDA.split()], rel=1e-6, abs=3e-7)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**64 - 1])
def test_each_number_is_of_its_own_counter(seed: int) -> None:
    generator = PhiloxGenerator(seed)
    unit, angle = float(np.float32(2.3283064e-10)), float(np.float32(2.3283064e-10 * 6.2831855))
    for draw in range(3):
        found = generator.randn((2, 5)).flatten()
        for i in (0, 7):
            counter = tuple(np.array([word], np.uint32) for word in (draw, 0, i, 0))
            x, y, *_ = (int(word[0]) for word in philox(counter, (seed % 2**32, seed >> 32)))
            u, v = x * unit + unit / 2, y * angle + angle / 2
            assert found[i].item() == np.float32(math.sqrt(-2 * math.log(u)) * math.sin(v))


def test_the_numbers_are_normal() -> None:
    found = PhiloxGenerator(7).randn((4, 64, 64)).double()
    assert found.dtype == torch.float64
    assert found.mean().item() == pytest.approx(0, abs=0.03)
    assert found.std().item() == pytest.approx(1, abs=0.02)
    assert (found**3).mean().item() == pytest.approx(0, abs=0.1)
