"""Several prompts at once, changing from step to step: what a sampler asks, answered for `Conditioning`s."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.errors import InvalidInput
from impasto.prompts.conditioning import Conditioning

Conditional = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`(x (B, C, H, W), sigma (B,), context (B, T, D)) -> x0 (B, C, H, W)`: any of the denoisers."""

Clauses = list[tuple[float, Tensor]]
"""Weight and context (1, T, D) of each."""


@dataclass(frozen=True, eq=False)
class Composed:
    """Composable diffusion (Liu et al. 2206.01714 Eq. 11, on x0) with classifier-free guidance, for whole prompts.

    With clauses of weights w_i, x0 = u + scale * sum_i w_i * (c_i - u), where u is the prediction for the negative
    prompt and c_i the one for clause i. One clause of weight 1 is plain guidance. Which step it is follows from the
    noise level, so that methods which ask several times a step, or go back, get the prompt of that level.

    Attributes:
        denoiser: the conditional denoiser.
        prompts: one for all pictures, or one for each.
        negatives: the same for what to keep away from; one clause each.
        scale: of guidance.
        sigmas: (N + 1,) falling, the noise levels of the run that the prompts were read for.

    Raises:
        InvalidInput: a negative prompt has several clauses.
    """

    denoiser: Conditional
    prompts: Sequence[Conditioning]
    negatives: Sequence[Conditioning]
    scale: float
    sigmas: Tensor

    def __post_init__(self) -> None:
        if any(len(negative.clauses) != 1 for negative in self.negatives):
            raise InvalidInput("A negative prompt has one clause. Read it with `parse_negative`.")

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict the guided x0 (B, C, H, W) from `x` (B, C, H, W) at noise level `sigma` (B,).

        Raises:
            InvalidInput: there are several prompts, but not one a picture.
        """
        return self._guided(x, sigma, self.scale)

    def alone(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict x0 (B, C, H, W) as without guidance: as with a scale of 1.

        Raises:
            InvalidInput: there are several prompts, but not one a picture.
        """
        return self._guided(x, sigma, 1.0)

    def _guided(self, x: Tensor, sigma: Tensor, scale: float) -> Tensor:
        clauses = self._clauses(self.prompts, x, sigma)
        if all(scale * sum(weight for weight, _ in own) == 1 for own in clauses):
            return scale * _sums(clauses, self._predict(x, sigma, clauses))
        x0, x0_negative = self.both(x, sigma)
        return x0_negative + scale * (x0 - x0_negative)

    def both(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return x0 for the prompts with their clauses composed, and x0 for the negatives, for guidance to combine.

        Raises:
            InvalidInput: there are several prompts, but not one a picture.
        """
        clauses, negatives = (self._clauses(prompts, x, sigma) for prompts in (self.prompts, self.negatives))
        together = [own + other for own, other in zip(negatives, clauses, strict=True)]
        x0_negative, x0 = self._predict(x, sigma, together).split([len(x), len(x) * (len(together[0]) - 1)])
        if all([weight for weight, _ in own] == [1.0] for own in clauses):
            return x0, x0_negative
        totals = x.new_tensor([sum(weight for weight, _ in own) for own in clauses]).view(-1, 1, 1, 1)
        return _sums(clauses, x0) + (1 - totals) * x0_negative, x0_negative

    def step(self, sigma: float) -> int:
        """Return the step, counted from 0, that begins at the noise level `sigma` or goes through it."""
        begun = self.sigmas[1:-1] >= sigma * (1 - 1e-5)
        return int(begun.sum())

    def _clauses(self, prompts: Sequence[Conditioning], x: Tensor, sigma: Tensor) -> list[Clauses]:
        """Return the clauses of each picture at this noise level, equally many: what is missing has weight 0."""
        if len(prompts) not in (1, len(x)):
            raise InvalidInput(f"{len(prompts)} prompts for {len(x)} pictures. Give one for all, or one for each.")
        step = 0 if all(prompt.constant for prompt in prompts) else self.step(sigma[0].item())
        clauses = [prompt.at(step) for prompt in prompts]
        most = max(map(len, clauses))
        filled = [[*own, *[(0.0, own[-1][1])] * (most - len(own))] for own in clauses]
        return filled * (len(x) if len(prompts) == 1 else 1)

    def _predict(self, x: Tensor, sigma: Tensor, clauses: Sequence[Clauses]) -> Tensor:
        """Return x0 (K * B, C, H, W) from one call: all pictures for their first clause, then for their second."""
        contexts = level([context for each in zip(*clauses, strict=True) for _, context in each])
        times = len(clauses[0])
        return self.denoiser(x.repeat(times, 1, 1, 1), sigma.repeat(times), contexts)


def level(contexts: Sequence[Tensor]) -> Tensor:
    """Return `contexts` (1, T_i, D) as one (R, T, D), each repeated until they are of equal length.

    Attention to the same keys k times over is attention to them once, so that no prediction changes; padding would.
    """
    length = math.lcm(*(context.shape[1] for context in contexts))
    return torch.cat([context.repeat(1, length // context.shape[1], 1) for context in contexts])


def _sums(clauses: Sequence[Clauses], x0: Tensor) -> Tensor:
    """Return the weighted sum (B, C, H, W) of the predictions `x0` (K * B, C, H, W) for each picture's clauses."""
    weights = x0.new_tensor([[weight for weight, _ in own] for own in clauses]).T  # (K, B)
    weighted: Tensor = x0.unflatten(0, weights.shape) * weights[..., None, None, None]
    return weighted.sum(0)
