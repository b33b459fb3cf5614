"""Picture files and the texts in them: PNG, JPEG and WebP written; these and any other that Pillow opens read.

PNG has text chunks. JPEG and WebP carry A1111's text where A1111 puts it, in EXIF's UserComment as `UNICODE` and
UTF-16-BE, and our own in XMP, as attributes of one description in our namespace.
"""

from __future__ import annotations

import html
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from impasto.errors import InvalidInput, InvalidRecipe, NotFound
from impasto.files import written_whole

INFOTEXT_KEY = "parameters"
OWN_KEYS = ("impasto", "impasto-origin", "impasto-seal")
"""Our own texts: the recipe, its `Origin`, or the seal of a recipe that is not shown."""

FORMATS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
}
"""By ending: Pillow's name, and how it is to save. WebP keeps every pixel; JPEG cannot."""

UNICODE = b"UNICODE\0"
NAMESPACE = "urn:impasto:1"
XMP_START = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f'<rdf:Description rdf:about="" xmlns:impasto="{NAMESPACE}"'
)
XMP_END = "/></rdf:RDF></x:xmpmeta>"
XMP_TEXT = re.compile(r'\bimpasto:(recipe|origin|seal)="([^"]*)"')
XMP_NAMES = {"impasto": "recipe", "impasto-origin": "origin", "impasto-seal": "seal"}

# What Pillow raises for files that are damaged, or made to harm.
DAMAGED = (
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def ending(path: Path) -> str:
    """Return the ending of `path` that says its format.

    Raises:
        InvalidInput: no format has it; lists those there are.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InvalidInput(f"{path} does not end in one of {', '.join(FORMATS)}, the formats pictures are saved in.")
    return suffix


def save(image: Image.Image, path: Path, texts: Mapping[str, str] | None = None) -> None:
    """Write `image` to `path` in the format of its ending, whole or not at all, with `texts` inside.

    Args:
        image: to write.
        path: ends in one of `FORMATS`.
        texts: `INFOTEXT_KEY`, and any of `OWN_KEYS`.

    Raises:
        InvalidInput: no such format, or one that has no room for that much text.
    """
    name, options = FORMATS[ending(path)]
    carried = _chunks(texts or {}) if name == "PNG" else _exif_and_xmp(texts or {})
    with written_whole(path) as temporary:
        try:
            image.save(temporary, format=name, **options, **carried)
        except ValueError as error:
            if "too long" not in str(error):
                raise
            raise InvalidInput(f"{path} cannot hold that much text: {error}. Save as PNG or WebP.") from error


def _chunks(texts: Mapping[str, str]) -> dict[str, Any]:
    chunks = PngInfo()
    for key, text in texts.items():
        if key in OWN_KEYS:
            chunks.add_itxt(key, text)
        else:
            chunks.add_text(key, text)  # tEXt where the text is Latin-1, iTXt where not: what A1111 and its readers do
    return {"pnginfo": chunks} if texts else {}


def _exif_and_xmp(texts: Mapping[str, str]) -> dict[str, Any]:
    carried: dict[str, Any] = {}
    if INFOTEXT_KEY in texts:
        exif = Image.Exif()
        comment = UNICODE + texts[INFOTEXT_KEY].encode("utf-16-be")
        exif[ExifTags.IFD.Exif] = {int(ExifTags.Base.UserComment): comment}
        carried["exif"] = exif
    if own := {XMP_NAMES[key]: text for key, text in texts.items() if key in OWN_KEYS}:
        attributes = "".join(f' impasto:{name}="{_attribute(text)}"' for name, text in own.items())
        carried["xmp"] = f"{XMP_START}{attributes}{XMP_END}".encode("ascii")
    return carried


def _attribute(text: str) -> str:
    """Escape what XML forbids; JSON is first written in ASCII, since XML has no way to say some of Unicode."""
    ascii_text = json.dumps(json.loads(text)) if text.startswith("{") else text
    return html.escape(ascii_text)


def open_image(path: Path) -> Image.Image:
    """Return the picture at `path`, its pixels read.

    Raises:
        NotFound: no such file.
        InvalidInput: not a picture, or a damaged one.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image.copy()
    except UnidentifiedImageError as error:
        raise InvalidInput(f"{path} is not a picture that can be read here.") from error
    except DAMAGED as error:
        raise InvalidInput(f"{path} is a damaged picture: {error}") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> NotFound | InvalidRecipe:
    if error.errno is None:  # Pillow's own, for files that end too early
        return InvalidRecipe(f"{path} is a damaged picture: {error}")
    return NotFound(f"Cannot read {path}: {error.strerror or error}.")


def texts(path: Path) -> dict[str, str]:
    """Return the texts in the picture file at `path`, by keyword.

    Besides the keywords of a PNG file there are `parameters` for a UserComment, `comment` for a GIF's or JPEG's, our
    own from XMP, and what ComfyUI writes as `key:text` into EXIF.

    Raises:
        NotFound: no such file.
        InvalidRecipe: not a picture, or a damaged one.
    """
    try:
        with Image.open(path) as image:
            return dict(_texts(image))
    except UnidentifiedImageError as error:
        raise InvalidRecipe(f"{path} is not a picture that can be read here.") from error
    except DAMAGED as error:
        raise InvalidRecipe(f"{path} is a damaged picture: {error}") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    chunks = getattr(image, "text", None)  # of PNG; also those behind the pixels
    if isinstance(chunks, dict):
        yield from ((str(key), str(text)) for key, text in chunks.items())
    if "comment" in image.info and isinstance(image.info["comment"], (bytes, str)):
        yield "comment", _decoded(image.info["comment"])
    yield from _from_exif(image)
    xmp = image.info.get("xmp", b"")
    for match in XMP_TEXT.finditer(_decoded(xmp) if isinstance(xmp, (bytes, str)) else ""):
        name = match[1]
        yield ("impasto" if name == "recipe" else f"impasto-{name}"), html.unescape(match[2])


def _from_exif(image: Image.Image) -> Iterator[tuple[str, str]]:
    exif = image.getexif()
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if isinstance(comment, (bytes, str)) and comment:
        yield INFOTEXT_KEY, user_comment(comment)
    for value in exif.values():
        if isinstance(value, str) and value.startswith(("prompt:", "workflow:")):
            key, _, text = value.partition(":")
            yield key, text


def user_comment(comment: bytes | str) -> str:
    """Return the text of EXIF's UserComment, in either order of UTF-16's bytes; wrong ones become replacement marks."""
    if isinstance(comment, str):
        return comment
    if not comment.startswith(UNICODE):
        return _decoded(comment[8:] if comment[:8] in (b"ASCII\0\0\0", b"\0" * 8) else comment)
    body = comment[len(UNICODE) :]
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    # Of ASCII's letters the upper byte is 0: first in big-endian, second in little-endian.
    little = body[1::2].count(0) > body[::2].count(0)
    return body.decode("utf-16-le" if little else "utf-16-be", "replace")


def _decoded(text: bytes | str) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace").rstrip("\0")
