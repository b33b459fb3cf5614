"""Prompts to contexts: weights, chunks, steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from impasto.errors import InvalidInput, InvalidRecipe, NotFound
from impasto.prompts.chunks import Chunker
from impasto.prompts.conditioning import EMPHASES, Conditioner, Conditioning, Timed, stack
from impasto.prompts.grammar import Run, parse
from tests.prompts.encoder import LENGTH, WIDTH, encoder, tokenizer

RUN = Run(10)


def conditioner(emphasis: str = "original", skip: int = 0) -> Conditioner:
    return Conditioner(encoder(), Chunker(tokenizer(), LENGTH), emphasis=emphasis, skip=skip)


def context(text: str, emphasis: str = "original", skip: int = 0) -> Tensor:
    """The one context of a prompt that does not change."""
    ((_, tensor),) = conditioner(emphasis, skip)(parse(text), RUN).at(0)
    return tensor


def plain(text: str, skip: int = 0) -> Tensor:
    return encoder()(torch.tensor(tokenizer()([text], LENGTH)), skip)


@pytest.mark.parametrize("emphasis", EMPHASES)
@pytest.mark.parametrize("skip", [0, 1])
def test_a_plain_text_is_encoded_as_ever(emphasis: str, skip: int) -> None:
    assert torch.equal(context("a fox", emphasis, skip), plain("a fox", skip))


def test_weights_multiply_and_the_mean_is_restored() -> None:
    weighted = context("a (fox:1.5)", "original")
    assert weighted.mean().item() == pytest.approx(plain("a fox").mean().item(), abs=1e-6)
    z = plain("a fox").clone()
    z[:, 2:] *= torch.tensor([1.5] * len(tokenizer().encode("fox")) + [1.0] * (LENGTH - 2))[: LENGTH - 2, None]
    torch.testing.assert_close(context("a (fox:1.5)", "no_norm"), z)
    torch.testing.assert_close(weighted, z * (plain("a fox").mean() / z.mean()))


def test_weights_move_away_from_the_empty_text() -> None:
    torch.testing.assert_close(context("(a fox:0)", "comfy")[0, 1:3], plain("")[0, 1:3])
    expected = plain("") + 1.5 * (plain("a fox") - plain(""))
    torch.testing.assert_close(context("(a fox:1.5)", "comfy")[0, 1:2], expected[0, 1:2])
    torch.testing.assert_close(context("(a fox:1.5)", "comfy")[0, -1], plain("a fox")[0, -1])


def test_brackets_without_emphasis() -> None:
    assert torch.equal(context("a (fox:1.5)", "ignore"), plain("a fox"))
    assert torch.equal(context("a (fox)", "none"), plain("a (fox)"))


def test_chunks_follow_one_another() -> None:
    both = context("a fox BREAK an owl")
    assert torch.equal(both, torch.cat([plain("a fox"), plain("an owl")], 1))


def test_the_mean_is_restored_chunk_by_chunk() -> None:
    both = context("a fox BREAK an (owl:1.5)")
    assert torch.equal(both[:, :LENGTH], plain("a fox"))
    torch.testing.assert_close(both[:, LENGTH:], context("an (owl:1.5)"))


def test_every_step_has_its_context() -> None:
    conditioning = conditioner()(parse("a [fox:owl:4]"), RUN)
    assert not conditioning.constant
    for step in range(10):
        ((weight, tensor),) = conditioning.at(step)
        assert weight == 1.0
        assert torch.equal(tensor, plain("a fox" if step < 4 else "a owl"))
    assert torch.equal(conditioning.at(99)[0][1], plain("a owl"))


def test_late_rules_take_effect_one_step_later() -> None:
    late = conditioner()(parse("a [fox:owl:4]"), RUN, late=True)
    words = [torch.equal(late.at(step)[0][1], plain("a fox")) for step in range(10)]
    assert words == [step < 5 for step in range(10)]
    late = conditioner()(parse("[fox|owl]"), RUN, late=True)
    words = [torch.equal(late.at(step)[0][1], plain("fox")) for step in range(5)]
    assert words == [True, True, False, True, False]


def test_all_steps_of_a_clause_are_equally_long() -> None:
    conditioning = conditioner()(parse("[fox:fox BREAK owl:4]"), RUN)
    assert torch.equal(conditioning.at(0)[0][1], torch.cat([plain("fox"), plain("")], 1))


def test_clauses_keep_their_weights_and_lengths() -> None:
    first, second = conditioner()(parse("a fox :1.5 AND an owl BREAK a cat"), RUN).at(0)
    assert (first[0], first[1].shape) == (1.5, (1, LENGTH, WIDTH))
    assert (second[0], second[1].shape) == (1.0, (1, 2 * LENGTH, WIDTH))


def test_no_chunk_is_encoded_twice() -> None:
    calls = []

    def encode(ids: Tensor, skip: int, vectors: Tensor | None) -> Tensor:
        calls.append(ids)
        return encoder()(ids, skip, vectors)

    conditioning = Conditioner(encode, Chunker(tokenizer(), LENGTH))(parse("[fox|owl] AND fox"), RUN)
    assert [ids.shape for ids in calls] == [(1, LENGTH)] * 2
    assert conditioning.at(2)[0][1] is conditioning.at(4)[0][1]


def test_embeddings_take_the_places_of_their_vectors() -> None:
    embeddings = {
        "cat": torch.randn(2, WIDTH),
        "dog": encoder().embeddings.token_embedding.weight[tokenizer().encode("a")],
    }
    chunker = Chunker(tokenizer(), LENGTH, {name: len(vectors) for name, vectors in embeddings.items()})
    words = Conditioner(encoder(), chunker, stack(embeddings, WIDTH))
    ((_, tensor),) = words(parse("dog fox"), RUN).at(0)
    torch.testing.assert_close(tensor, plain("a fox"))
    ((_, other),) = words(parse("cat fox"), RUN).at(0)
    assert not torch.allclose(other, plain("cat fox"))


def test_number_format_is_the_encoders() -> None:
    half = Conditioner(lambda *inputs: encoder()(*inputs).to(torch.bfloat16), Chunker(tokenizer(), LENGTH))
    ((_, tensor),) = half(parse("a (fox)"), RUN).at(0)
    assert tensor.dtype == torch.bfloat16


def test_refuses() -> None:
    with pytest.raises(
        NotFound, match=r"Unknown emphasis 'strong'\. Choose one of: comfy, ignore, no_norm, none, original"
    ):
        conditioner("strong")
    with pytest.raises(InvalidRecipe, match=r"The weights in '\(+.* lead to no finite numbers"):
        context("(" * 40 + "a" + ":999999999)" * 40)
    with pytest.raises(InvalidInput, match=r"of width 16: cat \(1, 8\); dog \(16,\)"):
        stack({"cat": torch.zeros(1, 8), "fox": torch.zeros(1, 16), "dog": torch.zeros(16)}, 16)


def test_a_timed_context_changes_at_its_ends() -> None:
    one, other = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    timed = Timed(1.0, (2, 5), (one, other))
    assert [timed.at(step) is one for step in range(6)] == [True, True, False, False, False, False]
    assert Conditioning((Timed(1.0, (2, 5), (one, one)),)).constant
