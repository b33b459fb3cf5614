"""What a picture resembles among the works that its model learned from.

Alike is not the same as learned from: which works a model used for a picture cannot be read off from likeness (Zheng
et al. 2311.00500 find features near chance against retraining). A near copy is another matter: it stands out from its
whole neighbourhood, and pictures that nothing was learned from are called that at most once in a hundred times.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageDraw

from impasto.corpus.record import Row
from impasto.corpus.sheet import Entry, picture_sheet
from impasto.pictures.sheet import GROUND, contact_sheet
from impasto.rights.likeness import Likeness
from impasto.rights.works import Match, Works

CAVEAT = "similar, not proven source"


@dataclass(frozen=True, eq=False)
class Trace:
    """What was found of a picture.

    Attributes:
        image: the picture.
        nearest: works whose shapes are most like it, nearest first.
        manner: works that are drawn most like it, nearest first.
        works: the index that was searched.
    """

    image: Image.Image
    nearest: tuple[Match, ...]
    manner: tuple[Row, ...]
    works: Works

    @property
    def near_copies(self) -> tuple[Match, ...]:
        """Works that the picture is a near copy of."""
        return tuple(match for match in self.nearest if match.near_copy)


def trace(image: Image.Image, works: Works, likeness: Likeness, count: int = 8) -> Trace:
    """Look for the `count` works of an index that `image` is most like, by shape and by manner."""
    nearest = works.nearest(likeness, image, count)
    return Trace(image, tuple(nearest), tuple(works.alike_in_manner(likeness, image, count)), works)


def sheet(found: Trace, name: str) -> Image.Image:
    """Return a picture of what was `found` of the picture called `name`: makers, licences and what is alike."""
    facts = found.works.facts
    copies = len(found.near_copies)
    verdict = f"a near copy of {copies} of them" if copies else "a near copy of none of them"
    subtitle = f"compared with {facts.rows:,} works of the corpus {facts.corpus}: {verdict}"
    head = contact_sheet([found.image], title=name, subtitle=subtitle, columns=1, cell=192)
    shapes = [
        Entry(match.row, found.works.image(match.row), "near copy" if match.near_copy else "")
        for match in found.nearest
    ]
    manners = [Entry(row, found.works.image(row)) for row in found.manner]
    parts = [
        head,
        picture_sheet(shapes, "Alike in shape", CAVEAT, columns=8),
        picture_sheet(manners, "Alike in manner", CAVEAT, columns=8),
    ]
    return _stacked(parts)


def _stacked(parts: list[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), GROUND)
    y = 0
    for part in parts:
        ground = part.getpixel((0, 0))
        ImageDraw.Draw(sheet).rectangle((0, y, sheet.width, y + part.height), fill=ground)
        sheet.paste(part, (0, y))
        y += part.height
    return sheet
