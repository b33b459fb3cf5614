from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import colours
from impasto.training.drawings import COLOURS


def flat(*rgb: int, side: int = 16) -> Tensor:
    return (torch.tensor(rgb) / 127.5 - 1)[None, :, None, None].expand(1, 3, side, side).clone()


def with_boxes(*boxes: tuple[slice, slice], colour: tuple[int, int, int] = (222, 60, 60)) -> Tensor:
    picture = flat(255, 255, 255, side=32)
    for rows, columns in boxes:
        picture[:, :, rows, columns] = flat(*colour)[0, :, :1, :1]
    return picture


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [  # Lindbloom's calculator, sRGB under D65
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.2408, 80.0925, 67.2032)),
        ((0, 255, 0), (87.7347, -86.1827, 83.1793)),
        ((0, 0, 255), (32.2970, 79.1875, -107.8602)),
    ],
)
def test_lab_is_that_of_the_standard(rgb: tuple[int, int, int], expected: tuple[float, float, float]) -> None:
    assert colours.lab(flat(*rgb, side=1)).flatten().tolist() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("name", COLOURS)
def test_a_ground_of_a_named_colour_has_its_name(name: str) -> None:
    assert colours.grounds(flat(*COLOURS[name])) == [name]


def test_what_is_drawn_does_not_change_the_ground() -> None:
    picture = flat(*COLOURS["blue"], side=32)
    picture[:, :, 4:28, 0:28] = 1  # touches the left edge
    assert colours.grounds(picture) == ["blue"]
    assert colours.grounds(flat(255, 255, 255)) == ["white"]


def test_white_inside_a_drawing_belongs_to_it() -> None:
    ring = with_boxes((slice(8, 24), slice(8, 24)))
    ring[:, :, 12:20, 12:20] = 1
    (mask,) = colours.foreground(ring)
    assert mask.sum() == 16 * 16
    assert colours.things(mask) == 1


def test_parts_that_do_not_touch_are_counted_and_specks_are_not() -> None:
    boxes = [(slice(4, 12), slice(4, 12)), (slice(4, 12), slice(16, 24)), (slice(28, 30), slice(28, 30))]
    (mask,) = colours.foreground(with_boxes(*boxes))
    assert colours.things(mask) == 2
    assert colours.things(np.zeros((8, 8), bool)) == 0


def test_shares_are_those_of_what_is_drawn() -> None:
    picture = with_boxes((slice(4, 12), slice(4, 12)))
    picture[:, :, 4:6, 4:12] = flat(*COLOURS["green"])[0, :, :1, :1]
    (found,) = colours.shares(picture)
    assert found["green"] == pytest.approx(0.25)
    assert found["red"] == pytest.approx(0.75)
    assert sum(found.values()) == pytest.approx(1)
