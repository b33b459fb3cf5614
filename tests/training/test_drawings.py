from __future__ import annotations

import torch

from impasto.training import drawings


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_laid_on_mixes_by_alpha() -> None:
    drawing = torch.tensor([200, 0, 0, 128], dtype=torch.uint8).view(1, 4, 1, 1)
    picture = drawings.laid_on(drawing, torch.tensor([[0, 255, 0]], dtype=torch.uint8))
    alpha = 128 / 255
    expected = torch.tensor([200 * alpha, 255 * (1 - alpha), 0.0]) / 127.5 - 1
    torch.testing.assert_close(picture.flatten(), expected)


def test_laid_on_white_where_nothing_is_drawn_is_white() -> None:
    assert torch.equal(drawings.laid_on(torch.zeros(2, 4, 3, 3).byte(), drawings.white(2)), torch.ones(2, 3, 3, 3))


def test_mirrored_turns_only_those_that_are_named() -> None:
    pictures = torch.arange(12).view(2, 1, 2, 3)
    turned = drawings.mirrored(pictures, torch.tensor([True, False]))
    assert torch.equal(turned[0], pictures[0].flip(-1))
    assert torch.equal(turned[1], pictures[1])


def test_crops_are_squares_out_of_the_drawing() -> None:
    whole = torch.arange(2 * 4 * 10 * 10).view(2, 4, 10, 10)
    crops = drawings.cropped(whole, 4, _generator())
    assert crops.shape == (2, 4, 4, 4)
    for source, crop in zip(whole, crops, strict=True):
        assert any(
            torch.equal(source[:, top : top + 4, left : left + 4], crop) for top in range(7) for left in range(7)
        )
    assert torch.equal(drawings.cropped(whole, 10, _generator()), whole)


def test_backgrounds_have_the_shares_asked_for() -> None:
    drawn = drawings.backgrounds(4000, 0.5, 0.3, _generator())
    white = (drawn == 255).all(1)
    palette = torch.tensor(list(drawings.COLOURS.values()))
    named = (drawn[:, None] == palette).all(2).any(1)
    assert abs(white.float().mean() - 0.5) < 0.03
    assert abs(named.float().mean() - 0.3) < 0.03
