"""How far two pictures are apart."""

from __future__ import annotations

from PIL import Image

from impasto.pictures.compare import difference
from tests.pictures.test_png import IMAGE


def test_the_same() -> None:
    apart = difference(IMAGE, IMAGE.convert("RGBA"))
    assert apart is not None
    assert apart.none
    assert str(apart) == "no pixel differs"


def test_one_pixel_of_128() -> None:
    other = IMAGE.copy()
    red, green, blue = other.getpixel((0, 0))
    other.putpixel((0, 0), (red + 4, green, blue + 1))
    apart = difference(IMAGE, other)
    assert apart is not None
    assert (apart.largest, apart.share) == (4, 1 / 128)
    assert str(apart) == "0.78% of the pixels differ, by up to 4/255 and 0.013/255 on average"


def test_other_sizes() -> None:
    assert difference(IMAGE, Image.new("RGB", (1, 1))) is None
