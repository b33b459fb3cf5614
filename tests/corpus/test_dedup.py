from __future__ import annotations

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from impasto.corpus.dedup import Fingerprint, close_pairs, fingerprint, near_duplicates, phash, worst_tile

BITS, DIFFERENCE = 16, 8.0


def picture(seed: int, size: int = 64) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (6, 6, 4), dtype=np.uint8)
    noise[..., 3] = np.where(noise[..., 3] > 90, 255, 0)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def face(mouth: int, colour: str = "gold") -> Image.Image:
    image = Image.new("RGBA", (128, 128))
    draw = ImageDraw.Draw(image)
    draw.ellipse((4, 4, 124, 124), colour)
    draw.ellipse((36, 40, 50, 60), "black")
    draw.ellipse((78, 40, 92, 60), "black")
    draw.arc((36, 90 - mouth, 92, 90 + mouth), 0, 180, "black", 6)
    return image


def repeats(*images: Image.Image) -> list[int | None]:
    return near_duplicates([fingerprint(image) for image in images], BITS, DIFFERENCE)


def test_the_first_is_kept() -> None:
    one, other = picture(1), picture(2)
    assert repeats(one, other, one, other, one) == [None, None, 0, 1, 0]


@pytest.mark.parametrize("size", [(64, 64), (301, 17), (32, 32), (1, 1)])
def test_an_opaque_image_takes_a_shorter_way_to_the_same(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    opaque = Image.merge("RGB", [Image.effect_noise(size, 90) for _ in "RGB"]).convert("RGBA")
    short = fingerprint(opaque)
    monkeypatch.setattr(Image.Image, "getextrema", lambda _: (0, 255))
    whole = fingerprint(opaque)
    assert short.phash == whole.phash
    assert np.array_equal(short.outline, whole.outline)
    assert np.array_equal(short.small, whole.small)


def test_another_size_and_a_slight_change_are_repeats() -> None:
    one = picture(3, 128)
    lighter = ImageEnhance.Brightness(one).enhance(1.02)
    assert repeats(one, one.resize((96, 96), Image.Resampling.LANCZOS), lighter) == [None, 0, 0]


def test_other_colours_and_other_mouths_are_not() -> None:
    assert repeats(face(20), face(20, "tomato"), face(4)) == [None, None, None]


def test_a_repeat_of_a_repeat_goes_to_the_kept_one() -> None:
    one = picture(4, 128)
    firsts = repeats(one, one, one)
    assert firsts == [None, 0, 0]


def test_close_pairs_are_exactly_those_within_the_distance() -> None:
    rng = np.random.default_rng(0)
    base = rng.random((40, 128)) < 0.5
    bits = np.concatenate([base, base ^ (rng.random((40, 128)) < 0.1)])
    small = np.zeros((32, 32, 4), np.uint8)
    prints = [Fingerprint(b[:64], b[64:], small) for b in bits]
    expected = [(i, j) for i in range(80) for j in range(i) if (bits[i] ^ bits[j]).sum() <= BITS]
    assert list(close_pairs(prints, BITS)) == expected
    assert expected
    assert list(close_pairs([], BITS)) == []


def test_phash_agrees_with_imagehash() -> None:
    for seed in range(10):
        grey = picture(seed, 32).convert("L")
        peer = imagehash.phash(grey, hash_size=8, highfreq_factor=4).hash.ravel()
        assert (phash(np.asarray(grey)) != peer).sum() <= 2


def test_a_symmetric_picture_hashes_alike_when_mirrored() -> None:
    image = Image.new("L", (32, 32), 255)
    ImageDraw.Draw(image).rectangle((8, 4, 23, 27), 0)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert (phash(np.asarray(image)) == phash(np.asarray(mirrored))).all()


def test_the_worst_tile_sees_a_small_change() -> None:
    assert worst_tile(fingerprint(face(20)), fingerprint(face(20))) == 0
    assert worst_tile(fingerprint(face(20)), fingerprint(face(4))) == pytest.approx(30, abs=25)
    assert worst_tile(fingerprint(face(20)), fingerprint(face(4))) > DIFFERENCE
