"""The picture that is painted on."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from impasto.errors import InvalidRecipe
from impasto.pictures.canvas import crop_box, extended, filled, flat, latent_mask, prepared
from impasto.pictures.origin import pixels_digest
from impasto.recipe import Extension, FromPicture, Mask, Recipe
from tests.pictures.test_png import recipe

PICTURE = Image.radial_gradient("L").resize((256, 128)).convert("RGB")
MASK = Image.new("L", (256, 128))
MASK.paste(255, (200, 32, 232, 64))
SOURCES = {pixels_digest(image): image for image in (PICTURE, MASK)}
START = FromPicture(image=pixels_digest(PICTURE), strength=0.5)


def wanted(mask: Mask | None = None, extension: Extension | None = None) -> Recipe:
    return recipe().model_copy(update={"start": START, "mask": mask, "extension": extension})  # of 128x64


def masked(**choices: object) -> Mask:
    return Mask.model_validate({"image": pixels_digest(MASK), "blur": 0, **choices})


def test_noise_needs_no_canvas() -> None:
    assert prepared(recipe(), {}) is None


def test_a_picture_is_fitted() -> None:
    canvas = prepared(wanted(), SOURCES)
    assert canvas is not None
    assert canvas.image.size == (128, 64)
    assert canvas.finished(canvas.image) is canvas.image


def test_what_is_not_masked_stays() -> None:
    canvas = prepared(wanted(masked()), SOURCES)
    assert canvas is not None
    done = canvas.finished(Image.new("RGB", (128, 64), "red"))
    assert done.getpixel((110, 20)) == (255, 0, 0)
    assert done.crop((0, 0, 90, 64)).tobytes() == canvas.image.crop((0, 0, 90, 64)).tobytes()


def test_inverted() -> None:
    canvas = prepared(wanted(masked(invert=True)), SOURCES)
    assert canvas is not None
    done = canvas.finished(Image.new("RGB", (128, 64), "red"))
    assert done.getpixel((10, 10)) == (255, 0, 0)
    assert done.getpixel((108, 24)) != (255, 0, 0)


def test_blur_is_a_passage() -> None:
    canvas = prepared(wanted(masked(blur=4)), SOURCES)
    assert canvas is not None
    assert canvas.passage is not None
    assert canvas.mask is not None
    assert len(set(canvas.passage.tobytes())) > 10
    assert set(canvas.mask.tobytes()) == {0, 255}


def test_the_masked_part_alone() -> None:
    canvas = prepared(wanted(masked(area="masked", padding=8)), SOURCES)
    assert canvas is not None
    assert canvas.box is not None
    left, top, right, bottom = canvas.box
    assert left <= 192 and top <= 24 and right >= 240 and bottom >= 72  # noqa: PT018 - one box
    assert (right - left) / (bottom - top) == pytest.approx(2, rel=0.05)
    done = canvas.finished(Image.new("RGB", (128, 64), "red"))
    assert done.size == PICTURE.size
    assert done.getpixel((210, 40)) == (255, 0, 0)
    assert done.crop((0, 0, 190, 128)).tobytes() == PICTURE.crop((0, 0, 190, 128)).tobytes()


def test_outpainting() -> None:
    by = Extension(left=64, bottom=32)
    canvas = prepared(wanted(Mask(blur=0), by), SOURCES)
    assert canvas is not None
    assert canvas.whole is not None
    assert canvas.mask is not None
    done = canvas.finished(Image.new("RGB", (128, 64), "red"))
    assert done.getpixel((5, 5)) == (255, 0, 0)
    assert done.getpixel((60, 60)) == (255, 0, 0)
    assert done.getpixel((80, 20)) != (255, 0, 0)
    wide = extended(PICTURE, by)
    assert wide.size == (320, 160)
    assert wide.getpixel((0, 50)) == wide.getpixel((63, 50)) == PICTURE.getpixel((0, 50))


def test_fill_smears_what_is_around() -> None:
    image = Image.new("RGB", (64, 64), (200, 40, 40))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    spotted = image.copy()
    spotted.paste((0, 0, 255), (20, 20, 44, 44))
    assert (
        abs(np.asarray(filled(spotted, mask)).astype(int) - np.asarray(image)).max() <= 12
    )  # premultiplied colours of thin layers round


def test_latent_masks_round() -> None:
    mask = Image.new("L", (16, 16))
    mask.paste(255, (0, 0, 12, 5))
    assert latent_mask(mask, 8).tolist() == [[1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (255, 127, 256, 128), (0, 0, 256, 128), (100, 0, 110, 128)])
@pytest.mark.parametrize("size", [(64, 64), (128, 32), (8, 512)])
def test_crops_stay_inside(box: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    mask = Image.new("L", (256, 128))
    mask.paste(255, box)
    left, top, right, bottom = crop_box(mask, 16, size)
    assert 0 <= left <= box[0]
    assert 0 <= top <= box[1]
    assert box[2] <= right <= 256
    assert box[3] <= bottom <= 128


def test_what_is_missing_or_empty_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="start image"):
        prepared(wanted(), {})
    with pytest.raises(InvalidRecipe, match="mask"):
        prepared(wanted(masked(invert=True)), {START.image: PICTURE})
    black = Image.new("L", (256, 128))
    with pytest.raises(InvalidRecipe, match="nothing to paint"):
        prepared(wanted(masked(image=pixels_digest(black))), {**SOURCES, pixels_digest(black): black})


def test_what_is_transparent_is_white() -> None:
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert flat(image).getpixel((0, 0)) == (255, 255, 255)
