"""Several prompts at once: one call, the right sum, the right step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from impasto.diffusion.guidance import Guided, Rescaled, Within
from impasto.diffusion.samplers import SAMPLERS
from impasto.errors import InvalidInput
from impasto.prompts.composition import Composed, level
from impasto.prompts.conditioning import Conditioning, Timed

X = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
SIGMA = torch.full((3,), 4.0)
SIGMAS = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])


class Recorder:
    """A denoiser that attends from x to its context, and keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        self.calls.append((x, sigma, context))
        tokens = x.flatten(2).transpose(1, 2)
        attended = F.scaled_dot_product_attention(tokens, context, context)
        return x / sigma.view(-1, 1, 1, 1) + attended.transpose(1, 2).view_as(x)


def words(seed: int, tokens: int = 5) -> Tensor:
    return torch.randn(1, tokens, 4, generator=torch.Generator().manual_seed(seed))


def asks(*clauses: tuple[float, Tensor]) -> Conditioning:
    return Conditioning(tuple(Timed(weight, (4,), (context,)) for weight, context in clauses))


NEGATIVE = asks((1.0, words(9)))


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
def test_one_clause_is_plain_guidance(scale: float) -> None:
    ours = Composed(Recorder(), [asks((1.0, words(0)))], [NEGATIVE], scale, SIGMAS)(X, SIGMA)
    assert torch.equal(ours, Guided(Recorder(), words(0), words(9), scale)(X, SIGMA))


def test_one_clause_a_picture_is_plain_guidance() -> None:
    ours = Composed(Recorder(), [asks((1.0, words(k))) for k in range(3)], [NEGATIVE], 5.0, SIGMAS)(X, SIGMA)
    context = torch.cat([words(k) for k in range(3)])
    assert torch.equal(ours, Guided(Recorder(), context, words(9), 5.0)(X, SIGMA))


def test_clauses_add_their_directions_in_one_call() -> None:
    denoiser = Recorder()
    prompts = [asks((1.2, words(0)), (-0.5, words(1, 10))), asks((1.0, words(2))), asks((0.7, words(3)))]
    x0 = Composed(denoiser, prompts, [NEGATIVE], 4.0, SIGMAS)(X, SIGMA)
    ((x, _, _),) = denoiser.calls
    assert torch.equal(x, torch.cat([X, X, X]))  # the pictures in their order, as often as needed
    ask = Recorder()
    for k, prompt in enumerate(prompts):
        x, sigma = X[k : k + 1], SIGMA[:1]
        u = ask(x, sigma, words(9))
        expected = u + 4.0 * sum(weight * (ask(x, sigma, context) - u) for weight, context in prompt.at(0))
        torch.testing.assert_close(x0[k : k + 1], expected)


def test_nothing_is_asked_for_the_negative_where_it_counts_for_nothing() -> None:
    denoiser = Recorder()
    x0 = Composed(denoiser, [asks((0.25, words(0)), (0.25, words(1)))], [NEGATIVE], 2.0, SIGMAS)(X, SIGMA)
    ((x, _, _),) = denoiser.calls
    assert len(x) == 6
    ask = Recorder()
    expected = (ask(X, SIGMA, words(0).expand(3, -1, -1)) + ask(X, SIGMA, words(1).expand(3, -1, -1))) / 2
    torch.testing.assert_close(x0, expected)


def test_prompts_of_different_lengths_change_nothing() -> None:
    longer = level([words(0, 4), words(1, 6)])
    assert longer.shape == (2, 12, 4)
    ask = Recorder()
    torch.testing.assert_close(ask(X[:2], SIGMA[:2], longer)[:1], ask(X[:1], SIGMA[:1], words(0, 4)))
    torch.testing.assert_close(ask(X[:2], SIGMA[:2], longer)[1:], ask(X[1:2], SIGMA[:1], words(1, 6)))


def test_the_step_follows_from_the_noise_level() -> None:
    composed = Composed(Recorder(), [NEGATIVE], [NEGATIVE], 1.0, SIGMAS)
    assert [composed.step(sigma) for sigma in (9.0, 8.0, 5.0, 4.0, 4.00001, 3.0, 2.0, 1.5, 1.0, 0.5, 0.0)] == (
        [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    )
    assert Composed(Recorder(), [NEGATIVE], [NEGATIVE], 1.0, torch.tensor([2.0, 0.0])).step(2.0) == 0


def test_each_step_has_its_prompt() -> None:
    denoiser = Recorder()
    prompt = Conditioning((Timed(1.0, (1, 2, 3, 4), tuple(words(k) for k in range(4))),))
    composed = Composed(denoiser, [prompt], [NEGATIVE], 1.0, SIGMAS)
    list(SAMPLERS["euler"](composed, X[:1], SIGMAS, lambda *_: X[:1]))
    assert [context.tolist() for _, _, context in denoiser.calls] == [words(k).tolist() for k in range(4)]


def test_both_predictions_are_there_for_other_guidance() -> None:
    composed = Composed(Recorder(), [asks((1.5, words(0)), (0.5, words(1)))], [NEGATIVE], 3.0, SIGMAS)
    x0, x0_negative = composed.both(X, SIGMA)
    torch.testing.assert_close(composed(X, SIGMA), x0_negative + 3.0 * (x0 - x0_negative))


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_guidance_that_is_built_on_it_is_that_built_on_plain_guidance(scale: float) -> None:
    composed = Composed(Recorder(), [asks((1.0, words(0)))], [NEGATIVE], scale, SIGMAS)
    plain = Guided(Recorder(), words(0), words(9), scale)
    assert torch.equal(composed.alone(X, SIGMA), plain.alone(X, SIGMA))

    def scalings(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.ones_like(sigma), -sigma, 1 / (1 + sigma**2).sqrt()

    for low in (0.0, 5.0):
        ours, theirs = (Within(Rescaled(guided, scalings, 0.7), low)(X, SIGMA) for guided in (composed, plain))
        assert torch.equal(ours, theirs)


def test_clauses_without_guidance_are_those_of_a_scale_of_one() -> None:
    prompt = asks((1.2, words(0)), (-0.5, words(1)))
    strong, plain = (Composed(Recorder(), [prompt], [NEGATIVE], scale, SIGMAS) for scale in (7.5, 1.0))
    assert torch.equal(strong.alone(X, SIGMA), plain(X, SIGMA))


def test_refuses() -> None:
    with pytest.raises(InvalidInput, match="A negative prompt has one clause"):
        Composed(Recorder(), [NEGATIVE], [asks((1.0, words(0)), (1.0, words(1)))], 1.0, SIGMAS)
    with pytest.raises(InvalidInput, match="2 prompts for 3 pictures"):
        Composed(Recorder(), [NEGATIVE] * 2, [NEGATIVE], 7.5, SIGMAS)(X, SIGMA)
