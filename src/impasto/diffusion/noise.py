"""Where the randomness of a picture comes from: its own seed, whatever else is in the batch and wherever it runs.

`ImageNoise` is Impasto's own. The others repeat the numbers of other tools, so that a seed found elsewhere gives the
same picture here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from impasto.diffusion.philox import PhiloxGenerator
from impasto.errors import InvalidInput

MAX_SEED = 2**64 - 1


class Generator(Protocol):
    """A stream of standard normal numbers."""

    def randn(self, shape: Sequence[int]) -> Tensor:
        """Return the next ones, float32 on the CPU."""


class NoiseSource(ABC):
    """Standard normal noise for a batch of pictures; also the `noise` of a sampler."""

    @abstractmethod
    def initial(self) -> Tensor:
        """Return (B, C, H, W) float32 on the CPU, the noise that sampling starts from; to be asked for first."""

    @abstractmethod
    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Return (B, C, H, W) float32 on the CPU, fresh noise for the step from `sigma` to `sigma_next`."""


@dataclass(frozen=True)
class Variation:
    """A change to the initial noise of a picture that keeps most of the picture.

    Attributes:
        seed: of the noise to go towards.
        strength: how far, from 0 (not at all) to 1 (all the way).
        resize_from: (H, W) in latents of the picture whose middle to keep at another size, or None.
    """

    seed: int = 0
    strength: float = 0.0
    resize_from: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _check_seeds([self.seed])
        if not 0 <= self.strength <= 1:
            raise InvalidInput(f"A variation's strength is from 0 to 1, not {self.strength}.")


class ImageNoise(NoiseSource):
    """One CPU generator a picture; A1111's `CPU` mode, and diffusers' with a list of CPU generators.

    Picture k of a batch gets the same numbers as it would alone, on every device. torch's CPU generator (a Mersenne
    Twister) reads the low 32 bits of a seed only: seeds that agree in them give the same noise.

    Args:
        seeds: (B) one a picture, each in [0, 2**64).
        shape: (C, H, W) of one picture.
        variations: (B) one a picture, or None.
        delta: what is added to a seed for the noise of the steps (A1111's eta noise seed delta); 0 goes on drawing
            where the initial noise ended.

    Raises:
        InvalidInput: there is no seed, or one out of range, or not one variation a seed.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: Sequence[int],
        variations: Sequence[Variation | None] | None = None,
        delta: int = 0,
    ) -> None:
        _check_seeds([*seeds, *(seed + delta for seed in seeds)])
        self._seeds, self._shape = tuple(seeds), tuple(shape)
        self._variations = tuple(variations or [None] * len(seeds))
        if len(self._variations) != len(self._seeds):
            raise InvalidInput(f"{len(self._variations)} variations for {len(self._seeds)} seeds. Give one for each.")
        self._generators = [self.generator(seed) for seed in seeds]
        self._step_generators = [self.generator(seed + delta) for seed in seeds] if delta else self._generators

    @staticmethod
    def generator(seed: int) -> Generator:
        """Return the stream of numbers that `seed` starts."""
        return _TorchGenerator(seed)

    def initial(self) -> Tensor:
        """Return (B, C, H, W) float32 on the CPU, the noise that sampling starts from; to be asked for first."""
        return torch.stack(
            [
                varied(generator.randn(self._shape), self.generator, seed, variation)
                for generator, seed, variation in zip(self._generators, self._seeds, self._variations, strict=True)
            ]
        )

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:  # noqa: ARG002 (other sources depend on the interval)
        """Return (B, C, H, W) float32 on the CPU, fresh noise for the step from `sigma` to `sigma_next`."""
        return torch.stack([generator.randn(self._shape) for generator in self._step_generators])


class CudaNoise(ImageNoise):
    """One generator of a CUDA device a picture: A1111's `NV` mode, and up to a GPU's rounding its `GPU` mode."""

    @staticmethod
    def generator(seed: int) -> Generator:
        """Return the stream of numbers that `seed` starts."""
        return PhiloxGenerator(seed)


class BatchNoise(NoiseSource):
    """One CPU generator a batch: ComfyUI's, which draws all pictures of a batch at once from one seed.

    A picture then depends on how many there were in the batch, and which it was.

    Args:
        seed: of the batch, in [0, 2**64).
        shape: (C, H, W) of one picture.
        count: how many pictures the batch has.
        rows: which of them to make, from 0; None makes all.
        delta: what is added to the seed for the noise of the steps; ComfyUI's is 1 on the CPU. None goes on drawing
            where the initial noise ended, as diffusers does with one generator.

    Raises:
        InvalidInput: a seed is out of range, or there is no such row.
    """

    def __init__(
        self, seed: int, shape: Sequence[int], count: int = 1, rows: Sequence[int] | None = None, delta: int | None = 1
    ) -> None:
        _check_seeds([seed])
        self._rows = list(range(count) if rows is None else rows)
        if count < 1 or not self._rows or not all(0 <= row < count for row in self._rows):
            raise InvalidInput(f"A batch of {count} has no pictures {self._rows}. Count them from 0 to {count - 1}.")
        self._shape = (count, *shape)
        self._generator = _TorchGenerator(seed)
        self._step_generator = self._generator if delta is None else _TorchGenerator((seed + delta) % 2**64)

    def initial(self) -> Tensor:
        """Return (B, C, H, W) float32 on the CPU, the noise that sampling starts from; to be asked for first."""
        return self._generator.randn(self._shape)[self._rows]

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:  # noqa: ARG002 (other sources depend on the interval)
        """Return (B, C, H, W) float32 on the CPU, fresh noise for the step from `sigma` to `sigma_next`."""
        return self._step_generator.randn(self._shape)[self._rows]


def varied(noise: Tensor, generator: Callable[[int], Generator], seed: int, variation: Variation | None) -> Tensor:
    """Return `noise` (C, H, W), which is the first of `generator(seed)`, changed as `variation` says.

    As A1111: the noise of the other size and that of the other seed are the first of generators of their own.
    """
    if variation is None:
        return noise
    height, width = variation.resize_from or noise.shape[1:]
    shape = (noise.shape[0], height, width)
    base = generator(seed).randn(shape)
    if variation.strength:
        base = slerp(base, generator(variation.seed).randn(shape), variation.strength)
    return base if base.shape == noise.shape else centred(base, noise)


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return the spherical interpolation from `a` to `b` (C, H, W) at `t` in [0, 1] (Shoemake 1985, section 3.3).

    Each column, along dimension 1, is a direction, as in A1111, whose pictures these are; where they are on average
    nearly the same direction, the interpolation is linear.
    """
    cosine = (a / a.norm(dim=1, keepdim=True) * (b / b.norm(dim=1, keepdim=True))).sum(1, keepdim=True)
    if cosine.mean() > 0.9995:
        return (1 - t) * a + t * b
    angle = cosine.clamp(-1, 1).acos()
    result = ((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b
    return torch.where(angle.sin() < 1e-6, (1 - t) * a + t * b, result)  # along one line there is no angle


def centred(noise: Tensor, canvas: Tensor) -> Tensor:
    """Return `canvas` (C, H, W) with `noise` (C, h, w) over its middle; what is too large is cut at both sides."""
    into, from_ = zip(*(_overlap(canvas.shape[k], noise.shape[k]) for k in (1, 2)), strict=True)
    whole = slice(None)
    result = canvas.clone()
    result[(whole, *into)] = noise[(whole, *from_)]
    return result


def _overlap(canvas: int, noise: int) -> tuple[slice, slice]:
    # Halves are rounded down when negative too, as Python does, and so A1111.
    offset = (canvas - noise) // 2
    length = noise if offset >= 0 else noise + 2 * offset
    into, from_ = max(offset, 0), max(-offset, 0)
    length = min(length, canvas - into)
    return slice(into, into + length), slice(from_, from_ + length)


class _TorchGenerator:
    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator("cpu").manual_seed(seed)

    def randn(self, shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape), generator=self._generator)


def torch_numbers(shape: Sequence[int]) -> Callable[[int], Tensor]:
    """Return `seed -> (*shape)`, the first numbers of the CPU generator that a seed starts."""
    return lambda seed: _TorchGenerator(seed).randn(shape)


def cuda_numbers(shape: Sequence[int]) -> Callable[[int], Tensor]:
    """Return `seed -> (*shape)`, the first numbers of the generator that a seed starts on a CUDA device."""
    return lambda seed: PhiloxGenerator(seed).randn(shape)


def _check_seeds(seeds: Sequence[int]) -> None:
    wrong = [seed for seed in seeds if not 0 <= seed <= MAX_SEED]
    if wrong or not seeds:
        raise InvalidInput(f"Noise needs one seed or more, each from 0 to 2**64 - 1, not {wrong or 'none'}.")


NOISES: dict[str, type[ImageNoise]] = {
    "image": ImageNoise,
    "a1111-cpu": ImageNoise,
    "a1111-nv": CudaNoise,
}
"""Sources that give each picture its own seed's numbers, by name. `BatchNoise` has to know the batch as well."""
