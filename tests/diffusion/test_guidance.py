"""Classifier-free guidance: one call, the right halves, the right sum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from impasto.diffusion.guidance import Guided
from impasto.errors import InvalidInput

X = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
SIGMA = torch.tensor([1.0, 2.0, 3.0])


class Recorder:
    """A denoiser whose x0 is the mean of its context, and that keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        self.calls.append((x, sigma, context))
        return context.mean((1, 2)).view(-1, 1, 1, 1).expand_as(x)


@pytest.mark.parametrize("rows", [1, 3])
def test_one_call_of_both_halves(rows: int) -> None:
    denoiser = Recorder()
    context = torch.arange(1.0, rows + 1).view(rows, 1, 1).expand(rows, 5, 2)
    x0 = Guided(denoiser, context, torch.full((1, 5, 2), -1.0), 7.5)(X, SIGMA)
    ((x, sigma, both),) = denoiser.calls
    assert torch.equal(x, torch.cat([X, X]))
    assert torch.equal(sigma, torch.cat([SIGMA, SIGMA]))
    assert torch.equal(both, torch.cat([torch.full((3, 5, 2), -1.0), context.expand(3, 5, 2)]))
    expected = (-1 + 7.5 * (context.expand(3, 5, 2).mean((1, 2)) + 1)).view(3, 1, 1, 1).expand_as(X)
    torch.testing.assert_close(x0, expected)


def test_scale_one_asks_for_the_prompt_alone() -> None:
    denoiser = Recorder()
    Guided(denoiser, torch.ones(1, 5, 2), torch.zeros(1, 5, 2), 1.0)(X, SIGMA)
    ((x, _, context),) = denoiser.calls
    assert torch.equal(x, X)
    assert torch.equal(context, torch.ones(3, 5, 2))


def test_scale_zero_gives_the_negative() -> None:
    x0 = Guided(Recorder(), torch.ones(1, 5, 2), torch.full((3, 5, 2), -2.0), 0.0)(X, SIGMA)
    assert torch.equal(x0, torch.full_like(X, -2.0))


def test_prompts_that_do_not_match_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"\(1, 5, 2\) and \(1, 10, 2\)"):
        Guided(Recorder(), torch.ones(1, 5, 2), torch.zeros(1, 10, 2), 7.5)
    with pytest.raises(InvalidInput, match="2 contexts for 3 pictures"):
        Guided(Recorder(), torch.ones(2, 5, 2), torch.zeros(1, 5, 2), 7.5)(X, SIGMA)
