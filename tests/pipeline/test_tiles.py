"""Maps put together from tiles."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.pipeline.tiles import starts, tiled


@pytest.mark.parametrize("size", [(40, 56), (16, 16), (17, 31), (8, 100)])
def test_a_pointwise_network_gives_the_same(size: tuple[int, int]) -> None:
    x = torch.rand(1, 3, *size)
    torch.testing.assert_close(tiled(lambda part: F.interpolate(part, scale_factor=2.0) * 2, x, 16, 4),
                               F.interpolate(x, scale_factor=2.0) * 2)  # fmt: skip


def test_smaller_maps() -> None:
    x = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(tiled(lambda part: F.avg_pool2d(part, 4), x, 32, 8), F.avg_pool2d(x, 4))


def test_a_network_that_looks_around_differs_little() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
    x = torch.rand(1, 3, 64, 64)
    apart = (tiled(conv, x, 32, 16) - conv(x)).abs()
    assert apart.max() < 0.2
    assert apart[:, :, :15, :15].max() < 1e-6


def test_no_tile_is_bigger_than_asked_for() -> None:
    seen = []
    tiled(lambda part: seen.append(part.shape[2:]) or part, torch.rand(1, 1, 50, 70), 16, 4)  # type: ignore[func-returns-value]
    assert set(seen) == {(16, 16)}


def test_starts() -> None:
    assert list(starts(40, 16, 4)) == [0, 12, 24]
    assert list(starts(16, 16, 4)) == [0]
