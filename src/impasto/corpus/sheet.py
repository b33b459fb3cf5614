"""A picture sheet of a corpus: every drawing on a card, with its caption, its maker and its licence under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from impasto.corpus.record import Row

_GROUND, _CARD, _EDGE, _SQUARE = "#f4f2ec", "#ffffff", "#dcd7cb", "#f1eee7"
_INK, _SOFT, _FAINT, _MARK = "#23211d", "#5d5850", "#8f897d", "#b3261e"
_CHECK = 8  # pixels: side of a square of the pattern that shows what is transparent
_PAD, _GAP, _MARGIN = 14, 14, 36


@dataclass(frozen=True)
class Entry:
    """A card: a row and its image (RGBA), and a word of warning over the image's corner, if any."""

    row: Row
    image: Image.Image
    mark: str = ""


def picture_sheet(
    entries: Sequence[Entry], title: str, subtitle: str, columns: int = 8, cell: int = 128
) -> Image.Image:
    """Return one RGB picture with a card an entry.

    Args:
        entries: what is shown, in order.
        title: large, over the sheet.
        subtitle: small, under the title.
        columns: cards side by side.
        cell: side in pixels of the square that a drawing is fitted into.
    """
    columns = max(1, min(columns, len(entries)))
    card = (cell + 2 * _PAD, cell + 2 * _PAD + 54)
    width = max(2 * _MARGIN + columns * card[0] + (columns - 1) * _GAP, 480)
    lines = -(-len(entries) // columns)
    top = _MARGIN + 74
    sheet = Image.new("RGB", (width, top + lines * (card[1] + _GAP) - _GAP + _MARGIN), _GROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 4), _fitted(title, _font(30), width - 2 * _MARGIN), _INK, _font(30))
    draw.text((_MARGIN, _MARGIN + 36), _fitted(subtitle, _font(15), width - 2 * _MARGIN), _SOFT, _font(15))
    for place, entry in enumerate(entries):
        x = _MARGIN + place % columns * (card[0] + _GAP)
        y = top + place // columns * (card[1] + _GAP)
        sheet.paste(_card(entry, card, cell), (x, y))
    return sheet


def _card(entry: Entry, size: tuple[int, int], cell: int) -> Image.Image:
    card = Image.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(card)
    draw.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), 9, _CARD, _EDGE)
    card.paste(_checkered(cell), (_PAD, _PAD))
    scale = cell / max(entry.image.size)
    fitted = (max(1, round(entry.image.width * scale)), max(1, round(entry.image.height * scale)))
    image = entry.image.resize(fitted, Image.Resampling.LANCZOS)
    card.paste(image, (_PAD + (cell - image.width) // 2, _PAD + (cell - image.height) // 2), image)
    row, y, room = entry.row, cell + 2 * _PAD - 4, size[0] - 16
    texts = (
        (row.caption.text, 14, _INK),
        (row.maker.name, 12, _SOFT),
        (f"{row.licence.spdx} · {row.source.collection}", 11, _FAINT),
    )
    for text, points, ink in texts:
        draw.text((size[0] / 2, y), _fitted(text, _font(points), room), ink, _font(points), anchor="ma")
        y += points + 5
    if entry.mark:
        width = _font(12).getlength(entry.mark)
        draw.rounded_rectangle((_PAD - 4, _PAD - 4, _PAD + width + 8, _PAD + 16), 5, _MARK)
        draw.text((_PAD + 2, _PAD - 2), entry.mark, _CARD, _font(12))
    return card


def _checkered(side: int) -> Image.Image:
    pattern = Image.new("RGB", (side, side), _CARD)
    draw = ImageDraw.Draw(pattern)
    for y in range(0, side, _CHECK):
        for x in range(y // _CHECK % 2 * _CHECK, side, 2 * _CHECK):
            draw.rectangle((x, y, x + _CHECK - 1, y + _CHECK - 1), _SQUARE)
    return pattern


def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Return `text` cut to `width` pixels."""
    if font.getlength(text) <= width:
        return text
    return next(
        (cut for end in range(len(text), 0, -1) if font.getlength(cut := text[:end].rstrip() + "…") <= width), ""
    )
