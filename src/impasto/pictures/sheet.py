"""Contact sheets: pictures in a grid on a light ground, each with its caption, under a title."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from impasto.errors import InvalidInput

GROUND = "#f5f3ee"
MOUNT = "#ffffff"
EDGE = "#dfdbd2"
INK = "#2a2723"
FAINT_INK = "#7b756b"

SMALLEST_CELL, LARGEST_CELL = 128, 320
WIDEST = 1600
CAPTION_LINES = 2
ELLIPSIS = "…"
DASHES_AND_QUOTES = str.maketrans("\u2010\u2011\u2012\u2013\u2014\u2212\u2018\u2019\u201c\u201d\u00d7", "------''\"\"x")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Grid:
    """How a sheet is laid out, in pixels.

    Attributes:
        columns: images side by side.
        cell: side of the square that an image is fitted into.
    """

    columns: int
    cell: int

    @property
    def margin(self) -> int:
        """Around everything."""
        return max(24, self.cell // 6)

    @property
    def gap(self) -> int:
        """Between cells."""
        return max(14, self.cell // 10)

    @property
    def width(self) -> int:
        """Of the cells and the gaps between them."""
        return self.columns * self.cell + (self.columns - 1) * self.gap

    def font(self, share: float, at_least: int) -> Font:
        """Return the font whose size is this `share` of a cell."""
        return ImageFont.load_default(max(at_least, round(self.cell * share)))


def contact_sheet(
    images: Sequence[Image.Image],
    captions: Sequence[str] = (),
    *,
    title: str = "",
    subtitle: str = "",
    columns: int | None = None,
    cell: int | None = None,
) -> Image.Image:
    """Return one RGB picture of all `images`.

    Args:
        images: of any size and mode, at least one; transparent parts show white.
        captions: one for each image, or none at all; up to two lines of each are shown.
        title: over the sheet, on one line.
        subtitle: in fainter ink under the title, on one line.
        columns: images side by side; left out, the sheet is a little wider than it is high.
        cell: side of the square that each image is fitted into; left out, the largest image's, from 128 to 320.

    Raises:
        InvalidInput: there are no images, or not one caption for each.
    """
    if not images:
        raise InvalidInput("A contact sheet needs at least one image.")
    if captions and len(captions) != len(images):
        raise InvalidInput(f"A contact sheet of {len(images)} images needs as many captions, not {len(captions)}.")
    side = cell or min(max(SMALLEST_CELL, *(max(image.size) for image in images)), LARGEST_CELL)
    grid = Grid(columns or _columns(len(images), side), side)
    strips = [_header(grid, title, subtitle)] if title or subtitle else []
    strips += [_row(grid, images[i : i + grid.columns], captions[i : i + grid.columns]) for i in _starts(grid, images)]
    return _stacked(grid, strips)


def labelled_grid(
    images: Sequence[Image.Image],
    columns: Sequence[str],
    rows: Sequence[str] = (),
    *,
    title: str = "",
    subtitle: str = "",
) -> Image.Image:
    """Return one RGB picture of `images`, row by row, with the columns' labels above and the rows' on the left.

    Args:
        images: one for each row and column; one row when there are no labels for rows.
        columns: what changes from left to right.
        rows: what changes from top to bottom.
        title: over the sheet, on one line.
        subtitle: in fainter ink under the title, on one line.

    Raises:
        InvalidInput: the images do not fill the rows and columns.
    """
    if not columns or len(images) != len(columns) * max(len(rows), 1):
        raise InvalidInput(f"{len(images)} images do not fill {max(len(rows), 1)} rows of {len(columns)}.")
    side = min(max(SMALLEST_CELL, *(max(image.size) for image in images)), LARGEST_CELL)
    grid = Grid(len(columns) + bool(rows), side)
    strips = [_header(grid, title, subtitle)] if title or subtitle else []
    strips.append(_labels(grid, ["", *columns] if rows else columns, grid.cell // 4))
    for start in _starts(Grid(len(columns), side), images):
        strip = _row(grid, images[start : start + len(columns)], ())
        if rows:
            shifted = Image.new("RGB", strip.size, GROUND)
            shifted.paste(strip, (side + grid.gap, 0))
            shifted.paste(_labels(Grid(1, side), [rows[start // len(columns)]], side), (0, 0))
            strip = shifted
        strips.append(strip)
    return _stacked(grid, strips)


def _labels(grid: Grid, texts: Sequence[str], height: int) -> Image.Image:
    """Return a strip of `texts`, one a column, each in the middle of its cell."""
    font = grid.font(0.1, 14)
    strip = Image.new("RGB", (grid.width, height), GROUND)
    draw = ImageDraw.Draw(strip)
    for column, text in enumerate(texts):
        lines = _wrapped(text, font, grid.cell)
        x = column * (grid.cell + grid.gap) + grid.cell / 2
        y = height / 2 - len(lines) * _line_height(font) / 2
        for number, line in enumerate(lines):
            draw.text((x, y + number * _line_height(font)), line, fill=INK, font=font, anchor="ma")
    return strip


def _columns(count: int, side: int) -> int:
    """Return how many images stand side by side: with few gaps in the last row, and a little wider than high."""
    best = math.sqrt(1.5 * count)
    likely = range(math.ceil(math.sqrt(count)), min(count, max(4, round(2 * best))) + 1)
    return max(1, min(WIDEST // side, min(likely, key=lambda columns: (-count % columns, abs(columns - best)))))


def _starts(grid: Grid, images: Sequence[Image.Image]) -> range:
    return range(0, len(images), grid.columns)


def _header(grid: Grid, title: str, subtitle: str) -> Image.Image:
    lines = [(title, grid.font(0.14, 24), INK), (subtitle, grid.font(0.085, 14), FAINT_INK)]
    lines = [line for line in lines if line[0]]
    strip = Image.new("RGB", (grid.width, sum(_line_height(font) for _, font, _ in lines) + 4), GROUND)
    draw, y = ImageDraw.Draw(strip), 0
    for text, font, ink in lines:
        draw.text((0, y), _shortened(_plain(text), font, grid.width), fill=ink, font=font)
        y += _line_height(font)
    return strip


def _row(grid: Grid, images: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    font = grid.font(0.08, 12)
    texts = [_wrapped(caption, font, grid.cell) for caption in captions]
    caption_height = 6 + max(map(len, texts)) * _line_height(font) if texts else 0
    strip = Image.new("RGB", (grid.width, grid.cell + caption_height), GROUND)
    draw = ImageDraw.Draw(strip)
    for column, image in enumerate(images):
        x = column * (grid.cell + grid.gap)
        strip.paste(_mounted(image, grid.cell), (x, 0))
        draw.rectangle((x, 0, x + grid.cell - 1, grid.cell - 1), outline=EDGE)
        for number, line in enumerate(texts[column] if texts else ()):
            position = (x + grid.cell / 2, grid.cell + 6 + number * _line_height(font))
            draw.text(position, line, fill=INK, font=font, anchor="ma")
    return strip


def _mounted(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    shown = image.convert("RGBA")
    if size != image.size:
        shown = shown.resize(size, Image.Resampling.LANCZOS)
    mount = Image.new("RGBA", (side, side), MOUNT)
    mount.alpha_composite(shown, ((side - size[0]) // 2, (side - size[1]) // 2))
    return mount.convert("RGB")


def _stacked(grid: Grid, strips: Sequence[Image.Image]) -> Image.Image:
    height = sum(strip.height for strip in strips) + grid.gap * (len(strips) - 1)
    sheet = Image.new("RGB", (grid.width + 2 * grid.margin, height + 2 * grid.margin), GROUND)
    y = grid.margin
    for strip in strips:
        sheet.paste(strip, (grid.margin, y))
        y += strip.height + grid.gap
    return sheet


def _line_height(font: Font) -> int:
    return math.ceil(_size(font) * 1.3)


def _size(font: Font) -> float:
    return font.size if isinstance(font, ImageFont.FreeTypeFont) else 11


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """Break `text` into at most `CAPTION_LINES` lines of `width` pixels, the last one shortened where needed."""
    words = _plain(text).split()
    lines: list[str] = []
    while words and len(lines) < CAPTION_LINES - 1:
        taken = max((n for n in range(1, len(words) + 1) if font.getlength(" ".join(words[:n])) <= width), default=1)
        lines.append(_shortened(" ".join(words[:taken]), font, width))
        words = words[taken:]
    return [*lines, _shortened(" ".join(words), font, width)] if words else lines


def _plain(text: str) -> str:
    """Return `text` on one line in the letters that Pillow's own font has: without accents, with plain dashes."""
    letters = unicodedata.normalize("NFKD", text.translate(DASHES_AND_QUOTES))
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split())


def _shortened(text: str, font: Font, width: int) -> str:
    """Return `text` cut so that it is at most `width` pixels long."""
    return text if font.getlength(text) <= width else next(_fits(text, font, width), ELLIPSIS)


def _fits(text: str, font: Font, width: int) -> Iterator[str]:
    for end in range(len(text) - 1, 0, -1):
        candidate = text[:end].rstrip() + ELLIPSIS
        if font.getlength(candidate) <= width:
            yield candidate
