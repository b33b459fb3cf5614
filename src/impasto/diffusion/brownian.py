"""A path of Brownian motion for each picture, so that the noise of a step does not depend on the other steps.

The DPM++ SDE samplers take their noise from it in k-diffusion, and so in A1111 and ComfyUI. The numbers here are those
of torchsde's `BrownianTree`, bit for bit.

Source: Gaines & Lyons 1997, "Variable step size control in the numerical solution of stochastic differential
equations" (the tree); Li et al. 2020 (2001.01328), "Scalable Gradients for Stochastic Differential Equations",
Algorithm 3, and google-research/torchsde (Apache-2.0) for how its seeds are made of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from impasto.diffusion.noise import NoiseSource

POOL = 24  # words of numpy's SeedSequence, as torchsde's tree has them
DIGITS = 6  # times are told apart to a millionth

Draw = Callable[[int], Tensor]
"""`seed -> (...)`: standard normal numbers, the first of the generator that the seed starts."""


@dataclass(frozen=True, eq=False)
class Node:
    """An interval of time and how far the path goes in it.

    Attributes:
        tree: that it is of.
        start: of the interval.
        end: of the interval.
        key: place in its row of the tree, from 0.
        depth: of its row, 0 at the top.
        increment: of the path.
    """

    tree: BrownianTree
    start: float
    end: float
    key: int
    depth: int
    increment: Tensor

    def halves(self) -> tuple[Node, Node]:
        """Return the two halves, drawn from the bridge between the ends (Li et al. 2001.01328 Eq. 9).

        They are drawn again each time: the numbers cost less than keeping those of every step in memory.
        """
        middle = round(0.5 * (self.end + self.start), DIGITS)
        left, right, reciprocal = middle - self.start, self.end - middle, 1 / (self.end - self.start)
        mean = left * self.increment * reciprocal
        first = mean + math.sqrt(left * right * reciprocal) * self.tree.draw(self._seed)
        return (
            Node(self.tree, self.start, middle, 2 * self.key, self.depth + 1, first),
            Node(self.tree, middle, self.end, 2 * self.key + 1, self.depth + 1, self.increment - first),
        )

    @property
    def _seed(self) -> int:
        return _seed(self.tree.seed, 4, spawn_key=(self.key, self.depth))

    def within(self, start: float, end: float) -> Iterator[Node]:
        """Yield the largest nodes that `start` to `end`, which is in this one, consists of."""
        if (start, end) == (self.start, self.end):
            yield self
            return
        left, right = self.halves()
        if start < left.end:
            yield from left.within(start, min(end, left.end))
        if end > right.start:
            yield from right.within(max(start, right.start), end)


class BrownianTree:
    """A path from one time to another, fixed by its seed.

    Args:
        start: of the time, less than `end`.
        end: of the time.
        seed: of the path.
        draw: numbers for a seed, in the shape of one point of the path.
    """

    def __init__(self, start: float, end: float, seed: int, draw: Draw) -> None:
        self.seed, self.draw = seed, draw
        whole = draw(_seed(seed, 3)) * math.sqrt(end - start)
        self._top = Node(self, round(start, DIGITS), round(end, DIGITS), 0, 0, whole)

    def __call__(self, start: float, end: float) -> Tensor:
        """Return how far the path goes from `start` to the later `end`; outside of its time it stands still."""
        low, high = (round(min(max(time, self._top.start), self._top.end), DIGITS) for time in (start, end))
        if low == high:
            return torch.zeros_like(self._top.increment)
        first, *others = (node.increment for node in self._top.within(low, high))
        return sum(others, start=first)


def _seed(entropy: int, words: int, spawn_key: tuple[int, ...] = ()) -> int:
    sequence = np.random.SeedSequence(entropy, spawn_key=spawn_key, pool_size=POOL)
    return int(sequence.generate_state(words)[0])


class BrownianNoise(NoiseSource):
    """Noise of steps from paths through the noise levels, one path a picture or one for several drawn at once.

    Args:
        source: of the initial noise.
        trees: one or more; their points, one after the other, are the pictures.
        rows: which of the pictures to make, from 0; None makes all.
    """

    def __init__(self, source: NoiseSource, trees: list[BrownianTree], rows: list[int] | None = None) -> None:
        self._source, self._trees, self._rows = source, trees, rows

    def initial(self) -> Tensor:
        """Return (B, C, H, W) float32 on the CPU, the noise that sampling starts from; to be asked for first."""
        return self._source.initial()

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Return (B, C, H, W) float32 on the CPU, the noise for the step from `sigma` to `sigma_next`."""
        low, high = sorted((sigma, sigma_next))
        length = (torch.tensor(high) - torch.tensor(low)).sqrt()  # in float32, as k-diffusion has it
        path = torch.cat([tree(low, high) for tree in self._trees]) * (1 if sigma < sigma_next else -1)
        return (path if self._rows is None else path[self._rows]) / length
