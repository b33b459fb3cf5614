"""The library: what is found by its words, what is sent, and what files may be."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from impasto.errors import InvalidInput, NotFound
from impasto.pictures.origin import pixels_digest
from impasto.server.database import Database
from impasto.server.jobs import Queue
from impasto.server.pictures import Library, TooLarge
from impasto.server.places import picture_id, place
from tests.server.test_jobs import DIGEST, new, row

PIXELS = 1_000_000


def kept(database: Database, library: Library, **more: Any) -> str:
    """Put a picture into the library, its file with it, and return its id."""
    queue = Queue(database)
    job = queue.submit(new(), most=1000)[0].id
    id_ = picture_id(job, 0)
    path = place(library.made, id_, "png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), "red").save(path)
    claim = queue.claim()
    assert claim
    assert queue.keep(job, claim.lease, 0, {**row(job, 0), "id": id_, **more})
    return id_


def encoded(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, format=kind, **more)
    return data.getvalue()


def files(library: Library) -> set[str]:
    return {path.name for path in library._files()}


def test_pictures_are_found_by_all_words_in_any_field(database: Database, library: Library) -> None:
    fox = kept(database, library, prompt="A red Fox", seed="4711")
    owl = kept(database, library, prompt="an owl, 100% white", negative_prompt="fox", model="glyph")
    assert [saved.id for saved in library.search()] == [owl, fox]
    assert [saved.id for saved in library.search("fox RED")] == [fox]
    assert [saved.id for saved in library.search("fox")] == [owl, fox]
    assert [saved.id for saved in library.search("4711")] == [fox]
    assert [saved.id for saved in library.search("glyph")] == [owl]
    for literal, found in (("%", [owl]), ("_", []), ("\\", []), ("' or 1=1", [])):
        assert [saved.id for saved in library.search(literal)] == found


def test_stars_models_and_pages(database: Database, library: Library) -> None:
    ids = [kept(database, library) for _ in range(3)]
    assert library.star(ids[1], True).starred
    assert [saved.id for saved in library.search(starred=True)] == [ids[1]]
    assert [saved.id for saved in library.search(starred=False)] == [ids[2], ids[0]]
    assert library.search(model="sha256:" + "1" * 64) == []
    page = library.search(model=DIGEST, limit=2)
    assert [saved.id for saved in library.search(limit=2, before=page[-1].id)] == [ids[0]]
    assert library.count() == 3
    for call in (library.get, library.file, library.thumbnail, library.delete, lambda id_: library.star(id_, True)):
        with pytest.raises(NotFound, match="no picture"):
            call("p" + "0" * 20)


def test_a_thumbnail_is_small_and_made_once(database: Database, library: Library) -> None:
    id_ = kept(database, library)
    path = library.thumbnail(id_)
    with Image.open(path) as small:
        assert (small.format, small.size) == ("WEBP", (64, 48))
    before = path.stat().st_mtime_ns
    assert library.thumbnail(id_).stat().st_mtime_ns == before


def test_a_deleted_picture_leaves_nothing(database: Database, library: Library) -> None:
    id_ = kept(database, library)
    library.thumbnail(id_)
    library.delete(id_)
    assert files(library) == set()
    with pytest.raises(NotFound):
        library.get(id_)


def test_what_a_crash_leaves_is_swept_away_and_the_rest_stays(database: Database, library: Library) -> None:
    id_ = kept(database, library)
    sent = library.upload(encoded(Image.new("RGB", (8, 8))), PIXELS, 10)
    library.thumbnail(id_)
    there = files(library)
    stray = place(library.made, "p" + "1" * 20, "png")
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"half")
    (stray.parent / f".{stray.name}.abcd.tmp").write_bytes(b"h")
    assert library.sweep() == 2
    assert files(library) == there
    assert library.source(sent.id)[0].is_file()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_what_is_sent_is_written_anew_without_what_else_is_in_it(library: Library, kind: str) -> None:
    image = Image.linear_gradient("L").resize((32, 16)).convert("RGB")
    secret = PngInfo()
    secret.add_text("parameters", "a secret")
    more: dict[str, Any] = {"pnginfo": secret} if kind == "PNG" else {}
    sent = library.upload(encoded(image, kind, **more), PIXELS, 10)
    path, digest = library.source(sent.id)
    assert (sent.width, sent.height) == (32, 16)
    with Image.open(path) as again:
        assert (again.format, again.info) == ("PNG", {})
        assert pixels_digest(again) == digest == sent.pixels
    assert library.with_pixels(digest) == sent.id


def test_what_is_sent_stands_upright(library: Library) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    sent = library.upload(encoded(Image.new("RGB", (32, 16)), "JPEG", exif=exif), PIXELS, 10)
    assert (sent.width, sent.height) == (16, 32)


def bomb(side: int) -> bytes:
    """A PNG file of `side` x `side` black pixels in a few hundred bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    line = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", line) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [1001, 60_000, 2**31 - 1])
def test_pictures_of_too_many_pixels_are_not_even_decoded(library: Library, side: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        library.upload(bomb(side), PIXELS, 10)
    assert isinstance(refused.value, TooLarge) or "damaged" in str(refused.value)
    assert files(library) == set()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        bomb(100),
        encoded(Image.new("RGB", (64, 64)))[:60],
        encoded(Image.effect_noise((64, 64), 50), "JPEG")[:300],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
    ids=["empty", "text", "short", "cut png", "cut jpeg", "postscript", "svg"],
)
def test_what_is_no_picture_is_refused(library: Library, data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"not a picture|damaged"):
        library.upload(data, PIXELS, 10)
    assert files(library) == set()


def test_old_uploads_make_room_unless_a_job_needs_them(database: Database, library: Library) -> None:
    data = encoded(Image.new("RGB", (8, 8)))
    first = library.upload(data, PIXELS, 2)
    Queue(database).submit(new(sources=(first.id,)), most=10)
    sent = [library.upload(data, PIXELS, 2).id for _ in range(4)]
    assert files(library) == {f"{first.id}.png", *(f"{id_}.png" for id_ in sent[-2:])}
    with pytest.raises(NotFound):
        library.source(sent[0])


def test_a_source_is_an_upload_or_a_picture(database: Database, library: Library) -> None:
    id_ = kept(database, library, pixels="sha256:" + "a" * 64)
    assert library.source(id_)[1] == "sha256:" + "a" * 64
    assert library.with_pixels("sha256:" + "a" * 64) == id_
    assert library.with_pixels("sha256:" + "b" * 64) is None
    for unknown in ("p" + "0" * 20, "u" + "0" * 20, "../../etc/passwd"):
        with pytest.raises(NotFound):
            library.source(unknown)


def test_ids_are_opaque_and_lasting(tmp_path: Path) -> None:
    assert picture_id("j1", 0) == picture_id("j1", 0) != picture_id("j1", 1)
    assert place(tmp_path, "p" + "ab" * 10, "png").parent.parent == tmp_path
