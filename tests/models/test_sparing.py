"""What is changed in place without gradients is the same, bit for bit, as what is not with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.models.sparing import plus, silu, times
from tests.weights import tiny


@pytest.mark.parametrize(
    ("ours", "wanted"), [(plus, torch.add), (times, torch.mul), (lambda x, _: silu(x), lambda x, _: F.silu(x))]
)
def test_in_place_without_gradients(
    ours: Callable[[Tensor, Tensor], Tensor], wanted: Callable[[Tensor, Tensor], Tensor]
) -> None:
    x, y = torch.randn(4, 5), torch.randn(5)
    expected = wanted(x, y)
    kept = x.clone()
    assert torch.equal(ours(x, y), expected)
    assert torch.equal(x, kept)  # with gradients nothing is changed
    with torch.no_grad():
        assert ours(x, y).data_ptr() == x.data_ptr()
    assert torch.equal(x, expected)


def test_the_wider_number_format_is_kept() -> None:
    with torch.no_grad():
        assert plus(torch.ones(2).bfloat16(), torch.ones(2)).dtype == torch.float32


def test_networks_give_the_same_and_leave_their_inputs_alone() -> None:
    networks = tiny.networks()
    x, t, words = torch.randn(2, 4, 8, 8), torch.tensor([5.0, 900.0]), torch.randn(2, 7, 32)
    inputs = [x.clone(), t.clone(), words.clone()]
    with torch.enable_grad():
        wanted = networks.unet(x, t, words), networks.vae.decode(x)
    with torch.inference_mode():
        got = networks.unet(x, t, words), networks.vae.decode(x)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert all(torch.equal(a, b) for a, b in zip((x, t, words), inputs, strict=True))
