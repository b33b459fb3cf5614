from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from impasto.corpus.candidates import Raster, Svg
from impasto.corpus.policy import Refusal
from impasto.corpus.render import Rendered, render, render_all
from impasto.schema import bytes_digest

ROOT = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1" viewBox="0 0 {box}">{body}</svg>'
DISC = ROOT.format(box="16 16", body='<circle cx="8" cy="8" r="8" fill="#f00"/>')


def pixels(rendered: Rendered | Refusal) -> np.ndarray:
    assert isinstance(rendered, Rendered)
    return np.asarray(Image.open(io.BytesIO(rendered.data)).convert("RGBA"))


def file_of(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_a_drawing_is_rgba_and_named_by_its_bytes() -> None:
    drawn = render(Svg(DISC), 32)
    assert pixels(drawn).shape == (32, 32, 4)
    assert tuple(pixels(drawn)[16, 16]) == (255, 0, 0, 255)
    assert pixels(drawn)[0, 0, 3] == 0
    assert isinstance(drawn, Rendered)
    assert drawn.image.id == bytes_digest(drawn.data)
    assert drawn.image.bytes == len(drawn.data)
    assert drawn.image.ink == pytest.approx(np.pi / 4, abs=0.05)


@pytest.mark.parametrize("root", [ROOT, ROOT.replace('width="1" height="1"', 'width="32" height="16"')])
def test_aspect_is_kept_and_centred(root: str) -> None:
    drawn = pixels(render(Svg(root.format(box="32 16", body='<rect width="32" height="16"/>')), 32))
    assert drawn.shape == (32, 32, 4)
    assert (drawn[8:24, :, 3] == 255).all()
    assert (drawn[:8, :, 3] == 0).all()
    assert (drawn[24:, :, 3] == 0).all()


@pytest.mark.parametrize(
    "body",
    [
        "<text>a</text>",
        '<image href="file:///etc/passwd"/>',
        '<use href="https://example.org/#a"/>',
        '<rect fill="url(https://example.org/a.svg#g)"/>',
        "<script/>",
        '<filter id="f"><feImage href="a.png"/></filter>',
        "<style>@import 'a.css';</style>",
        "<rect",
    ],
)
def test_what_reaches_outside_or_is_broken_is_refused(body: str) -> None:
    refusal = render(Svg(ROOT.format(box="8 8", body=body)), 32)
    assert isinstance(refusal, Refusal)
    assert refusal.rule == "unreadable"


def test_references_within_a_drawing_are_fine() -> None:
    body = '<linearGradient id="g"><stop stop-color="red"/></linearGradient><rect width="8" height="8" fill="url(#g)"/>'
    assert isinstance(render(Svg(ROOT.format(box="8 8", body=body)), 32), Rendered)


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_an_image_file_is_kept_byte_for_byte(kind: str, media_type: str) -> None:
    data = file_of(Image.new("RGB", (20, 10), "teal"), kind)
    kept = render(Raster(data), None)
    assert isinstance(kept, Rendered)
    assert (kept.data, kept.image.width, kept.image.height, kept.image.media_type) == (data, 20, 10, media_type)


def test_an_image_file_is_fitted_to_a_square() -> None:
    fitted = pixels(render(Raster(file_of(Image.new("RGB", (40, 20), "teal"), "PNG")), 20))
    assert fitted.shape == (20, 20, 4)
    assert (fitted[5:15, :, 3] == 255).all()
    assert (fitted[:5, :, 3] == 0).all()


def test_a_photograph_is_turned_as_its_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    file = io.BytesIO()
    Image.new("RGB", (40, 20), "teal").save(file, "JPEG", exif=exif)
    kept = render(Raster(file.getvalue()), None)
    assert isinstance(kept, Rendered)
    assert (kept.data, kept.image.width, kept.image.height) == (file.getvalue(), 20, 40)


@pytest.mark.parametrize("data", [b"", b"not an image", file_of(Image.new("P", (4, 4)), "GIF")])
def test_other_files_are_refused(data: bytes) -> None:
    assert isinstance(render(Raster(data), None), Refusal)


def test_a_vector_drawing_needs_a_size() -> None:
    refusal = render(Svg(DISC), None)
    assert isinstance(refusal, Refusal)
    assert "needs a size" in refusal.reason


def test_processes_give_the_same_in_the_same_order() -> None:
    drawings = [Svg(DISC), Raster(b""), Svg(DISC.replace("#f00", "#0f0"))]
    alone, together = list(render_all(drawings, 32, 1)), list(render_all(drawings, 32, 2))
    assert isinstance(alone[1], Refusal)
    for one, other in zip(alone, together, strict=True):
        assert getattr(one, "data", one) == getattr(other, "data", other)
