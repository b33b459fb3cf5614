"""Contact sheets."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageFont

from impasto.errors import InvalidInput
from impasto.pictures import sheet
from impasto.pictures.sheet import contact_sheet, labelled_grid

RED = Image.new("RGB", (128, 128), "#ff0000")
FONT = ImageFont.load_default(14)


def count(image: Image.Image, colour: tuple[int, int, int]) -> int:
    return sum(n for n, c in image.getcolors(1 << 24) or [] if c == colour)


@pytest.mark.parametrize("number", [1, 2, 3, 7, 12, 50])
def test_every_image_is_on_it_at_its_own_size(number: int) -> None:
    made = contact_sheet([RED] * number, [f"picture {k}" for k in range(number)], title="All of them")
    assert made.mode == "RGB"
    assert count(made, (255, 0, 0)) == number * 126 * 126  # an edge of one pixel is drawn around each
    assert made.width <= sheet.WIDEST + 200


def test_columns_and_cell_are_obeyed() -> None:
    made = contact_sheet([RED] * 4, columns=2, cell=64)
    assert made.width < 2 * 64 + 100
    assert count(made, (255, 0, 0)) == 4 * 62 * 62


def test_transparency_shows_white() -> None:
    made = contact_sheet([Image.new("RGBA", (128, 128), (255, 0, 0, 0))])
    assert count(made, (255, 255, 255)) == 126 * 126


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode(mode: str) -> None:
    contact_sheet([Image.new(mode, (40, 20))])


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (333, 127)])
def test_every_shape(size: tuple[int, int]) -> None:
    contact_sheet([Image.new("RGB", size)], ["odd"])


def test_captions_make_a_difference_and_so_does_the_title() -> None:
    plain, named = contact_sheet([RED]), contact_sheet([RED], ["fox"])
    assert named.height > plain.height
    assert contact_sheet([RED], ["fox"], title="Foxes").height > named.height
    other = contact_sheet([RED], ["box"])
    assert ImageChops.difference(named, other).getbbox() is not None


@pytest.mark.parametrize("text", ["", "fox", "a fox in the woods", "x" * 500, "a " * 200, "one two " + "y" * 300])
@pytest.mark.parametrize("width", [20, 128])
def test_wrapping_keeps_within_the_width(text: str, width: int) -> None:
    lines = sheet._wrapped(text, FONT, width)
    assert len(lines) <= sheet.CAPTION_LINES
    assert all(FONT.getlength(line) <= width for line in lines)
    if FONT.getlength(text) <= width:
        assert lines == ([text] if text else [])


def test_a_cut_is_shown() -> None:
    assert sheet._shortened("x" * 500, FONT, 100).endswith(sheet.ELLIPSIS)


def test_letters_that_the_font_lacks_are_replaced_by_those_it_has() -> None:
    assert sheet._plain("Zoë  Müller—O\u2019Neill\nñ") == "Zoe Muller-O'Neill n"


def test_refusals() -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        contact_sheet([])
    with pytest.raises(InvalidInput, match="2 images needs as many captions, not 1"):
        contact_sheet([RED, RED], ["one"])


def test_a_labelled_grid_has_a_cell_for_every_image_and_label() -> None:
    images = [Image.new("RGB", (128, 128), colour) for colour in ("red", "green", "blue", "red", "green", "blue")]
    plain = labelled_grid(images[:3], ["steps 1", "steps 2", "steps 3"])
    both = labelled_grid(images, ["steps 1", "steps 2", "steps 3"], ["seed 1", "seed 2"], title="a fox")
    assert both.width - plain.width == 128 + 14
    blue = [
        position
        for position in ((x, both.height - 60) for x in range(both.width))
        if both.getpixel(position) == (0, 0, 255)
    ]
    assert len(blue) > 100
    with pytest.raises(InvalidInput, match="do not fill 2 rows of 2"):
        labelled_grid(images, ["a", "b"], ["c", "d"])
