"""A mark in the first noise of a picture, for when its metadata are gone: evidence of where it is from, never proof.

Yang et al. 2024, "Gaussian Shading: Provable Performance-Lossless Image Watermarking for Diffusion Models"
(arXiv 2404.04956), with one bit of each number marked, its sign. A number of the noise keeps its size and gets the sign
that a code says. Signs and sizes of normal numbers are independent, and each sign is as likely + as -, so that every
number is exactly normal still, and any two of them are independent.

The codes are a random linear code over bits: the sign of number i is `mask_i xor <code, g_i>`, with `mask_i` and the
`BITS` bits of `g_i` drawn once for all. All 2^20 codes are then tried by one Walsh-Hadamard transform, where the paper
repeats each bit and counts votes: a picture of Glyph has 1,024 numbers, too few for that.

Nothing here is secret. Whoever has a model can find the marks of its pictures, and can make or forge them (Müller et
al. 2024, "Black-Box Forgery Attacks on Semantic Watermarks for Diffusion Models", arXiv 2412.03283). The code of a
picture is the beginning of its recipe's digest: carried over to another one, a mark does not fit that one's record.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from impasto.diffusion.noise import NoiseSource
from impasto.rights.binding import BITS, written

FALSE = 1e-6
"""How often a picture without a mark may be taken for one with any mark, at most."""

MOST = 1.5
"""Standard deviations beyond which a number counts no more."""

DOMAIN = b"impasto gaussian-shading/1 "


@dataclass(frozen=True)
class Mark:
    """The mark that fits a picture's noise best.

    Attributes:
        code: of `BITS` bits.
        agreement: share of the signs that are as the code says, 0.5 by accident, 1 in the first noise itself.
        chance: at most how likely a picture without a mark is to fit some code as well as this.
    """

    code: int
    agreement: float
    chance: float

    @property
    def found(self) -> bool:
        """Whether that is too unlikely to be an accident (`FALSE`)."""
        return self.chance <= FALSE

    def __str__(self) -> str:
        return written(self.code)


class Marked(NoiseSource):
    """Another source, whose first noise has the signs of codes; the noise of the steps is the other's own."""

    def __init__(self, source: NoiseSource, codes: Sequence[int]) -> None:
        """Mark picture k of `source` with `codes[k]`."""
        self._source, self._codes = source, tuple(codes)

    def initial(self) -> Tensor:
        """Return (B, C, H, W) float32 on the CPU, the noise that sampling starts from; to be asked for first."""
        noise = self._source.initial()
        return noise.abs() * torch.stack([signs(code, noise.shape[1:]) for code in self._codes])

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Return (B, C, H, W) float32 on the CPU, fresh noise for the step from `sigma` to `sigma_next`."""
        return self._source(sigma, sigma_next)


def signs(code: int, shape: Sequence[int]) -> Tensor:
    """Return the signs (C, H, W), each 1 or -1, that `code` gives the first noise of that `shape`."""
    mask, columns = _code(math.prod(shape))
    ones = _parity(columns & np.uint32(code))  # <code, g_i>
    return torch.from_numpy(1 - 2 * (ones ^ mask).astype(np.float32)).reshape(tuple(shape))


def read(noise: Tensor) -> Mark:
    """Return the mark that fits the `noise` (C, H, W) best that a picture seems to have come from.

    Each number votes for its sign, and the stronger it is the more, up to `MOST` times the usual. For any picture that
    does not depend on the codes, the sum of the votes v that a code turns is at least t |v| with a chance of
    exp(-t^2 / 2) at most (Hoeffding 1963, Theorem 2), and there are 2^BITS codes.
    """
    numbers = noise.flatten().double().numpy()
    spread = float(np.sqrt(np.square(numbers).mean())) or 1.0
    mask, columns = _code(len(numbers))
    votes = np.clip(numbers / spread, -MOST, MOST) * (1 - 2 * mask.astype(np.float64))
    sums = _hadamard(np.bincount(columns, votes, 2**BITS).astype(np.float32))
    code = int(sums.argmax())
    t = float(sums[code]) / (float(np.linalg.norm(votes)) or 1.0)
    chance = min(1.0, 2.0**BITS * math.exp(-(max(t, 0.0) ** 2) / 2))
    return Mark(code, agreement(noise, code), chance)


def agreement(noise: Tensor, code: int) -> float:
    """Return the share of signs in `noise` (C, H, W) that are as `code` says."""
    return float((noise.sign() == signs(code, noise.shape)).float().mean())


def _code(count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Return the mask bits and the columns of the code's generator matrix, of `BITS` bits each, for `count` numbers."""
    stream = hashlib.shake_128(DOMAIN + str(count).encode()).digest(4 * count)
    drawn = np.frombuffer(stream, "<u4").astype(np.uint32)
    return (drawn >> np.uint32(31)).astype(np.uint8), drawn & np.uint32(2**BITS - 1)


def _parity(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the sum of the bits of each word, modulo 2."""
    for shift in (16, 8, 4, 2, 1):
        words = words ^ (words >> np.uint32(shift))
    return (words & np.uint32(1)).astype(np.uint8)


def _hadamard(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `sum_u values[u] (-1)^<m, u>` for all m (2^BITS): the Walsh-Hadamard transform, five bits at a time."""
    small = np.ones((1, 1), np.float32)
    while len(small) < 32:
        small = np.block([[small, small], [small, -small]])
    grid = values.reshape((32,) * (BITS // 5))
    for axis in range(grid.ndim):
        grid = np.moveaxis(np.tensordot(small, grid, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(grid).reshape(-1)
