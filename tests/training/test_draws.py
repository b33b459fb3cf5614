from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.training.draws import generator, shuffled


@given(st.integers(0, 2**40), st.integers(0, 40), st.integers(1, 60), st.integers(1, 13))
def test_shuffled_is_one_endless_run_however_it_is_cut(seed: int, first: int, count: int, size: int) -> None:
    whole = shuffled(seed, 0, first + count, size)
    assert torch.equal(shuffled(seed, first, count, size), whole[first:])


@given(st.integers(0, 2**40), st.integers(1, 13))
def test_every_epoch_holds_each_index_once(seed: int, size: int) -> None:
    epochs = shuffled(seed, 0, 3 * size, size).view(3, size)
    assert torch.equal(epochs.sort(1).values, torch.arange(size).expand(3, size))


def test_epochs_have_orders_of_their_own() -> None:
    first, second = shuffled(0, 0, 200, 100).view(2, 100)
    assert not torch.equal(first, second)


def test_purpose_and_index_give_other_draws() -> None:
    draws = [torch.rand((), generator=generator(*of)).item() for of in ((0, "a"), (0, "b"), (0, "a", 1), (1, "a"))]
    assert len(set(draws)) == 4
    assert draws[0] == torch.rand((), generator=generator(0, "a")).item()
