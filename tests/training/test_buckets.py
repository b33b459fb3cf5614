from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from impasto.training.buckets import BucketPlan, Size, buckets, fit

# What kohya's sd-scripts print for --resolution 512 with its own limits (256 to 1024, steps of 64).
KOHYA_512 = {
    *((256, side) for side in (1024,)),
    *((320, 768), (384, 640), (448, 576), (512, 512), (576, 448), (640, 384), (768, 320), (832, 256)),
    *((256, 832), (256, 896), (256, 960), (896, 256), (960, 256), (1024, 256), (704, 320), (320, 704)),
}


def test_buckets_are_those_that_people_know() -> None:
    found = set(buckets(512, 64))
    assert found == KOHYA_512
    assert all(width * height <= 512 * 512 for width, height in found)


@given(
    st.tuples(st.integers(16, 3000), st.integers(16, 3000)),
    st.sampled_from([(512, 64), (128, 32), (64, 32)]),
    st.booleans(),
    st.booleans(),
)
def test_every_picture_is_covered_and_cut_to_whole_steps(
    size: Size, at: tuple[int, int], shapes: bool, upscale: bool
) -> None:
    resolution, step = at
    found = fit(size, resolution, step, BucketPlan(shapes=shapes, upscale=upscale))
    assert all(side % step == 0 and side > 0 for side in found.bucket)
    assert all(resized >= kept for resized, kept in zip(found.resized, found.bucket, strict=True))
    if shapes and not upscale and min(size) >= step:
        assert all(resized <= own for resized, own in zip(found.resized, size, strict=True))
    if upscale:  # one side fits exactly: nothing is enlarged further than needed
        assert any(resized == kept for resized, kept in zip(found.resized, found.bucket, strict=True))


@pytest.mark.parametrize(
    ("size", "bucket"), [((1000, 1000), (512, 512)), ((3000, 1000), (832, 256)), ((400, 700), (384, 640))]
)
def test_a_picture_goes_where_its_shape_is_nearest(size: Size, bucket: Size) -> None:
    assert fit(size, 512, 64, BucketPlan()).bucket == bucket


def test_what_is_kept_is_the_middle() -> None:
    picture = Image.new("L", (96, 32), 0)
    picture.paste(255, (32, 0, 64, 32))
    kept = fit(picture.size, 32, 32, BucketPlan(shapes=False))(picture)
    assert kept.size == (32, 32)
    assert kept.getextrema() == (255, 255)
