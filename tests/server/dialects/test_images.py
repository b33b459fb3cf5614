from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from impasto.errors import InvalidInput
from impasto.server.dialects.images import alpha_mask, drawn_mask, fitting, framed, from_text, to_text

GREY = Image.radial_gradient("L").resize((40, 20))


@given(st.binary())
def test_base64_comes_back(data: bytes) -> None:
    assert from_text(to_text(data), "image") == data
    assert from_text(f"data:image/png;base64,{to_text(data)}", "image") == data
    assert from_text(base64.encodebytes(data).decode(), "image") == data  # in lines


@pytest.mark.parametrize("text", ["http://a.b/c.png", "HTTPS://a.b/c.png", "file:///etc/passwd"])
def test_addresses_are_not_fetched(text: str) -> None:
    with pytest.raises(InvalidInput, match="init_images: pictures are not fetched"):
        from_text(text, "init_images")


def test_what_is_not_base64() -> None:
    with pytest.raises(InvalidInput, match="mask is not base64"):
        from_text("data:image/png;base64,%%", "mask")


def test_transparent_is_painted_in_openais_masks() -> None:
    mask = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 127, 255)):
        mask.putpixel((x, 0), (9, 9, 9, alpha))
    assert list(alpha_mask(mask).tobytes()) == [255, 255, 0]
    with pytest.raises(InvalidInput, match="no transparency"):
        alpha_mask(mask.convert("RGB"))


def test_white_or_strokes_are_painted_in_a1111s_masks() -> None:
    assert drawn_mask(GREY).tobytes() == GREY.tobytes()
    glass = Image.new("RGBA", (2, 1))
    glass.putpixel((1, 0), (0, 0, 0, 255))
    assert list(drawn_mask(glass).tobytes()) == [0, 255]
    opaque = Image.merge("RGBA", (GREY, GREY, GREY, Image.new("L", GREY.size, 255)))
    assert drawn_mask(opaque).tobytes() == GREY.tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_framings(mode: str) -> None:
    image = GREY.convert(mode)
    for framing in ("stretch", "crop", "fill"):
        assert framed(image, (24, 24), framing).size == (24, 24)  # type: ignore[arg-type]
    cropped = np.asarray(framed(image, (20, 20), "crop")).astype(int)
    assert (cropped == np.asarray(image.crop((10, 0, 30, 20)))).all()
    whole = np.asarray(framed(image, (40, 40), "fill"))
    assert (whole[10:30] == np.asarray(image)).all()
    assert (whole[:10] == np.asarray(image)[0]).all()
    assert (whole[30:] == np.asarray(image)[-1]).all()


@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from([64, 128, 512, 768]))
def test_sizes_that_fit_a_model(width: int, height: int, resolution: int) -> None:
    size = fitting((width, height), resolution)
    assert all(side % 8 == 0 and side >= resolution / 2 - 4 for side in size)
    if 1 / 2 < width / height < 2:
        assert abs(size[0] * size[1] / resolution**2 - 1) < 0.2
        assert abs(size[0] / size[1] / (width / height) - 1) < 0.2
    assert fitting((resolution, resolution), resolution) == (resolution, resolution)
