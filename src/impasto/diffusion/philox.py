"""The numbers of a CUDA device, on the CPU: Philox 4x32-10 and Box-Muller.

Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", section 3.3 and table 2; the constants and the order
of the words are cuRAND's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint32]

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
TO_UNIT = np.float32(2**-32)
TO_ANGLE = np.float32(2.3283064e-10 * 6.2831855)
"""2 pi / 2**32 of the two float32 constants that cuRAND multiplies."""


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Return four random words for each `counter` (four words, each (N,)) under `key`."""
    c, k = counter, key
    for _ in range(ROUNDS):
        (high_0, low_0), (high_1, low_1) = _product(c[0], MULTIPLIERS[0]), _product(c[2], MULTIPLIERS[1])
        c = high_1 ^ c[1] ^ np.uint32(k[0]), low_1, high_0 ^ c[3] ^ np.uint32(k[1]), low_0
        k = (k[0] + KEY_STEPS[0]) % 2**32, (k[1] + KEY_STEPS[1]) % 2**32
    return c


def _product(words: Words, factor: int) -> tuple[Words, Words]:
    product = words.astype(np.uint64) * np.uint64(factor)
    return (product >> np.uint64(32)).astype(np.uint32), product.astype(np.uint32)


class PhiloxGenerator:
    """What `torch.Generator("cuda")` draws, for up to as many numbers as a GPU has threads (about 100,000).

    Element i of the n-th draw is the first normal number of counter (n, 0, i, 0). Beyond the number of threads a GPU
    uses the other three as well, which depends on the model of GPU and is not done here, nor by A1111's `NV`.

    Args:
        seed: in [0, 2**64), all of which counts.
    """

    def __init__(self, seed: int) -> None:
        self._key = seed % 2**32, seed >> 32
        self._draws = 0

    def randn(self, shape: Sequence[int]) -> Tensor:
        """Return the next float32 standard normal numbers of `shape`.

        In float64 but for the constants, and rounded at the end, as A1111's `NV`; a GPU's own differ by its rounding.
        """
        count = int(np.prod(shape))
        zero = np.zeros(count, np.uint32)
        counter = np.full(count, self._draws, np.uint32), zero, np.arange(count, dtype=np.uint32), zero
        x, y, *_ = philox(counter, self._key)
        self._draws += 1
        u = x * np.float64(TO_UNIT) + np.float64(TO_UNIT) / 2
        v = y * np.float64(TO_ANGLE) + np.float64(TO_ANGLE) / 2
        return torch.from_numpy((np.sqrt(-2 * np.log(u)) * np.sin(v)).astype(np.float32)).view(*shape)
