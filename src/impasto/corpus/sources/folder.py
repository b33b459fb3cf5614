"""A folder of images with captions: text side-cars, or a table as Hugging Face's imagefolder has it.

    fox.png  fox.txt                      the caption is the text beside the image
    fox.mask.png                          what of it counts where a training asks for masks, white; no image itself
    metadata.jsonl | metadata.csv         columns `file_name` and `text`, and any of the columns below

Maker, licence and consent are those of the plan's section, unless a row of the table says otherwise in the columns
`maker`, `maker_uri`, `licence`, `licence_url`, `consent`, `page`, `concept`, `category`. What nobody states is unknown,
and unknown is refused by every policy.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from impasto.corpus.candidates import Candidate, Raster, Svg
from impasto.corpus.policy import Refusal
from impasto.corpus.record import Basis, Caption, Consent, Licence, Maker, Work
from impasto.corpus.record import Source as Origin
from impasto.corpus.sources.base import Place, Source
from impasto.errors import SourceUnavailable

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".svg"}
TABLES = ("metadata.jsonl", "metadata.csv")
MASK = ".mask"


class FolderSource(Source):
    """A folder of images.

    Attributes:
        path: of the folder, relative to the plan.
        collection: short name for its works.
        version: what state of it this is; a date, a release, a commit.
        maker: who made the images, where the table does not say.
        maker_uri: their page.
        licence: SPDX identifier, where the table does not say.
        licence_url: text of the licence.
        consent: basis, where the table does not say: `owner` for your own works.
        caption: for images that have none; None leaves those out.
        caption_source: where the captions come from.
        stated_in: where what the table does not say was stated, in words.
    """

    kind: Literal["folder"]
    path: Path
    collection: str
    version: str
    maker: str = "unknown"
    maker_uri: str | None = None
    licence: str = "unknown"
    licence_url: str | None = None
    consent: Basis = "unknown"
    caption: str | None = None
    caption_source: str = "human"
    stated_in: str = "the plan"

    def candidates(self, place: Place) -> Iterator[Candidate]:
        """Yield every image of the folder, sorted by path."""
        folder = place.folder / self.path
        if not folder.is_dir():
            raise SourceUnavailable(f"{folder} is not a folder; `path` is relative to the plan.")
        table = read_table(folder)
        if missing := sorted(name for name in table if not (folder / name).is_file()):
            raise SourceUnavailable(f"{folder} has no images {', '.join(missing[:10])}, which its table names.")
        for file in images(folder):
            key = file.relative_to(folder).as_posix()
            yield self._candidate(key, file, table.get(key, {}))

    def _candidate(self, key: str, file: Path, stated: Mapping[str, str]) -> Candidate:
        text = stated.get("text") or _side_car(file) or self.caption
        work = self._work(key, text or "", stated)
        if not text and self.caption is None:
            return Candidate(work, None, Refusal(rule="caption", reason="No caption: no text beside it or in a table."))
        drawing = Svg(_text(file)) if file.suffix.lower() == ".svg" else Raster(file.read_bytes())
        return Candidate(work, drawing)

    def _work(self, key: str, text: str, stated: Mapping[str, str]) -> Work:
        return Work(
            source=Origin(collection=self.collection, version=self.version, key=key, file=key, page=stated.get("page")),
            maker=self._maker(stated),
            licence=self._licence(stated),
            consent=Consent(
                basis=_basis(stated.get("consent", self.consent)), evidence=self._stated_in(stated, "consent")
            ),
            caption=Caption(text=text, source=self.caption_source),
            concept=stated.get("concept"),
            category=stated.get("category"),
        )

    def _maker(self, stated: Mapping[str, str]) -> Maker:
        if "maker" in stated:
            return Maker(name=stated["maker"], uri=stated.get("maker_uri"))
        return Maker(name=self.maker, uri=self.maker_uri)

    def _licence(self, stated: Mapping[str, str]) -> Licence:
        evidence = self._stated_in(stated, "licence")
        if "licence" in stated:
            return Licence(spdx=stated["licence"], url=stated.get("licence_url"), evidence=evidence)
        return Licence(spdx=self.licence, url=self.licence_url, evidence=evidence)

    def _stated_in(self, stated: Mapping[str, str], column: str) -> str:
        return f"{self.collection} {self.version}: stated in " + ("its table" if column in stated else self.stated_in)


def images(folder: Path) -> list[Path]:
    """Return the images in `folder` and below it, sorted; masks (`fox.mask.png`) are none."""
    files = (f for f in folder.rglob("*") if f.suffix.lower() in IMAGES and f.is_file())
    return sorted(f for f in files if not f.stem.endswith(MASK))


def mask_of(image: Path) -> Path | None:
    """Return the mask beside `image`, `fox.mask.png` beside `fox.jpg`, if there is one."""
    mask = image.with_name(f"{image.stem}{MASK}.png")
    return mask if mask.is_file() else None


def _basis(text: str) -> Basis:
    """Return the basis `text` names; what is none is unknown."""
    return next((basis for basis in get_args(Basis) if basis == text), "unknown")


def read_table(folder: Path) -> dict[str, dict[str, str]]:
    """Return file name -> stated columns (empty cells left out) from the folder's table, if there is one.

    Raises:
        SourceUnavailable: a table that is not JSON lines or CSV, or has no `file_name`.
    """
    present = [folder / name for name in TABLES if (folder / name).is_file()]
    if len(present) > 1:
        raise SourceUnavailable(f"{folder} has both {' and '.join(TABLES)}; keep one.")
    if not present:
        return {}
    try:
        rows = _jsonl(present[0]) if present[0].suffix == ".jsonl" else _csv(present[0])
        return {row["file_name"]: {k: str(v) for k, v in row.items() if v not in (None, "")} for row in rows}
    except (KeyError, ValueError, TypeError) as error:
        raise SourceUnavailable(f"{present[0]} is not a table with a column `file_name`: {error!r}") from error


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def _csv(path: Path) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))


def _side_car(image: Path) -> str | None:
    text = image.with_suffix(".txt")
    return _text(text).strip() if text.is_file() else None


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise SourceUnavailable(f"{file} is not UTF-8 text: {error}") from error
