"""Near duplicates: found by perceptual hash, confirmed by colour.

A drawing has two 64-bit hashes (pHash: DCT of a 32x32 picture, signs of the 8x8 lowest frequencies against their
median; Zauner 2010), one of the drawing laid on white and one of its outline (alpha). Simple drawings can have close
hashes without being alike, so a pair is confirmed only when no tile of the two differs in mean colour by more than a
bound: the fox of one emoji set is never merged with the fox of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

_SIDE, _LOW, _TILES = 32, 8, 8
_BLOCK = 2048


@dataclass(frozen=True)
class Fingerprint:
    """What is compared of a drawing.

    Attributes:
        on_white: 64 bits, bool (64,).
        outline: 64 bits, bool (64,).
        small: the drawing with premultiplied alpha, uint8 (32, 32, 4).
    """

    on_white: npt.NDArray[np.bool_]
    outline: npt.NDArray[np.bool_]
    small: npt.NDArray[np.uint8]

    @property
    def phash(self) -> str:
        """The hash on white as 16 hex digits."""
        return np.packbits(self.on_white).tobytes().hex()


def fingerprint(rgba: Pillow.Image) -> Fingerprint:
    """Return the fingerprint of an RGBA image."""
    if rgba.getchannel("A").getextrema() == (255, 255):
        return _of_opaque(rgba)
    white = Pillow.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    side = (_SIDE, _SIDE)
    small = rgba.convert("RGBa").resize(side, Pillow.Resampling.BOX)
    grey = white.convert("L").resize(side, Pillow.Resampling.LANCZOS)
    alpha = rgba.getchannel("A").resize(side, Pillow.Resampling.LANCZOS)
    return Fingerprint(phash(np.asarray(grey)), phash(np.asarray(alpha)), np.asarray(small))


def _of_opaque(rgba: Pillow.Image) -> Fingerprint:
    """Return the same for an image without a transparent pixel, in half the time: it is its own picture on white."""
    side = (_SIDE, _SIDE)
    grey = rgba.convert("L").resize(side, Pillow.Resampling.LANCZOS)
    small = np.asarray(rgba.convert("RGB").resize(side, Pillow.Resampling.BOX))
    outline = np.full((_SIDE, _SIDE), 255, np.uint8)
    return Fingerprint(phash(np.asarray(grey)), phash(outline), np.dstack([small, outline]))


def phash(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return the 64 hash bits of a uint8 (32, 32) picture.

    The DCT is taken in integers, so that symmetric pictures (zero coefficients) hash alike on every machine.
    """
    low = _DCT @ grey.astype(np.int64) @ _DCT.T  # (8, 8)
    bits: npt.NDArray[np.bool_] = (low > np.median(low)).ravel()
    return bits


def near_duplicates(prints: Sequence[Fingerprint], bits: int, difference: float) -> list[int | None]:
    """Return for each drawing the index of the earlier one that it repeats, or None when it is to be kept.

    Args:
        prints: fingerprints in order of priority.
        bits: largest Hamming distance of the 128 bits.
        difference: largest mean difference of colour in the worst of 8x8 tiles, 0 to 255.
    """
    first: list[int | None] = [None] * len(prints)
    for later, earlier in close_pairs(prints, bits):
        if first[later] is None and first[earlier] is None and worst_tile(prints[later], prints[earlier]) <= difference:
            first[later] = earlier
    return first


def close_pairs(prints: Sequence[Fingerprint], bits: int) -> Iterator[tuple[int, int]]:
    """Yield all (later, earlier) whose hashes differ in at most `bits` of 128, in order of later, then earlier.

    Exact: with hashes as vectors of +-1, the Hamming distance of a pair is (128 - their product) / 2.
    """
    if not prints:
        return
    hashes = np.stack([np.concatenate([p.on_white, p.outline]) for p in prints]).astype(np.float32) * 2 - 1  # (N, 128)
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        close = block @ hashes[: start + len(block)].T >= hashes.shape[1] - 2 * bits - 0.5
        later, earlier = np.nonzero(close)
        for i, j in zip((later + start).tolist(), earlier.tolist(), strict=True):
            if j < i:
                yield i, j


def worst_tile(one: Fingerprint, other: Fingerprint) -> float:
    """Return the mean difference of premultiplied colour in the tile where two drawings differ most, 0 to 255."""
    apart = np.abs(one.small.astype(np.int16) - other.small.astype(np.int16))
    tiles = apart.reshape(_TILES, _SIDE // _TILES, _TILES, _SIDE // _TILES, 4)
    return float(tiles.mean(axis=(1, 3, 4)).max())


def _dct_matrix() -> npt.NDArray[np.int64]:
    k, n = np.arange(_LOW)[:, None], np.arange(_SIDE)[None, :]
    return np.round(np.cos(np.pi * k * (2 * n + 1) / (2 * _SIDE)) * (1 << 14)).astype(np.int64)


_DCT = _dct_matrix()  # (8, 32)
