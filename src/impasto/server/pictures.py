"""The library: every picture that was made, found again by its words, and every picture that was sent.

A file is named by the id of its row and is there before the row is, so that no row lacks its file; what a crash leaves
without a row is swept away.
"""

from __future__ import annotations

import io
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageOps, UnidentifiedImageError
from sqlalchemy import ColumnElement, Row, delete, func, insert, or_, select, update

from impasto.errors import InvalidInput, NotFound
from impasto.files import written_whole
from impasto.pictures.formats import DAMAGED, open_image
from impasto.pictures.origin import pixels_digest
from impasto.schema import Frozen
from impasto.server.database import Database, jobs, pictures, uploads
from impasto.server.places import place

ACCEPTED = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats, as Pillow calls them, of pictures that may be sent."""

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
THUMBNAIL = 320
DECODERS = 2
"""Pictures that are decoded at the same time: what bounds the memory that clients can make the server take."""


class TooLarge(InvalidInput):
    """More bytes or pixels than may be sent."""


class PictureFacts(Frozen):
    """What is known of a picture, here and to clients.

    Attributes:
        id: of the picture.
        job: that made it.
        kind: a picture, or a sheet of several.
        created: when it was made.
        width: in pixels.
        height: in pixels.
        bytes: size of its file.
        format: of its file.
        seed: of its noise; None for a sheet.
        prompt: what it was to show.
        negative_prompt: what it was to keep away from.
        model: name of the model.
        model_digest: of the model.
        recipe: that it was made from; None for a sheet.
        starred: whether somebody starred it.
    """

    id: str
    job: str
    kind: Literal["picture", "sheet"]
    created: datetime
    width: int
    height: int
    bytes: int
    format: str
    seed: int | None
    prompt: str
    negative_prompt: str
    model: str
    model_digest: str
    recipe: dict[str, Any] | None
    starred: bool


class Saved(PictureFacts):
    """A picture of the library.

    Attributes:
        row: which picture of the job it is.
        pixels: `pixels_digest` of it.
    """

    row: int
    pixels: str


class Upload(Frozen):
    """A picture that was sent: its id, its size and `pixels_digest`."""

    id: str
    width: int
    height: int
    pixels: str


class Library:
    """All pictures of a server: a database's tables, and the files in a folder."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database, self.folder = database, folder
        self._decoders = threading.BoundedSemaphore(DECODERS)
        for part in (self.made, self.sent, self.small):
            part.mkdir(parents=True, exist_ok=True)

    @property
    def made(self) -> Path:
        """Folder of the pictures that were made."""
        return self.folder / "pictures"

    @property
    def sent(self) -> Path:
        """Folder of the pictures that were sent."""
        return self.folder / "uploads"

    @property
    def small(self) -> Path:
        """Folder of thumbnails."""
        return self.folder / "thumbnails"

    def get(self, picture: str) -> Saved:
        """Return the picture with the id `picture`.

        Raises:
            NotFound: there is none.
        """
        with self._database.reading() as connection:
            return _saved(_row(connection.execute(select(pictures).where(pictures.c.id == picture)).first(), picture))

    def of(self, job: str) -> list[Saved]:
        """Return the pictures of `job`, in order."""
        with self._database.reading() as connection:
            query = select(pictures).where(pictures.c.job == job).order_by(pictures.c.row)
            return [_saved(row) for row in connection.execute(query)]

    def ids_of(self, jobs_: list[str]) -> dict[str, list[str]]:
        """Return the ids of the pictures of `jobs_`, by job."""
        found: dict[str, list[str]] = {job: [] for job in jobs_}
        query = select(pictures.c.id, pictures.c.job).where(pictures.c.job.in_(jobs_)).order_by(pictures.c.row)
        with self._database.reading() as connection:
            for row in connection.execute(query):
                found[row.job].append(row.id)
        return found

    def search(
        self,
        words: str = "",
        *,
        starred: bool | None = None,
        model: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Saved]:
        """Return up to `limit` pictures, newest first.

        Args:
            words: all of which are in the prompt, the negative prompt, the model's name or the seed.
            starred: only those that are starred, or are not.
            model: only those of the model with this digest.
            limit: how many at most.
            before: id of a picture; only older ones.

        Raises:
            NotFound: no picture `before`.
        """
        conditions = [_has(word) for word in words.split()]
        if starred is not None:
            conditions.append(pictures.c.starred == starred)
        if model is not None:
            conditions.append(pictures.c.model_digest == model)
        with self._database.reading() as connection:
            if before:
                first = connection.execute(select(pictures).where(pictures.c.id == before)).first()
                conditions.append(pictures.c.number < _row(first, before).number)
            query = select(pictures).where(*conditions).order_by(pictures.c.number.desc()).limit(limit)
            return [_saved(row) for row in connection.execute(query)]

    def count(self) -> int:
        """Return how many pictures there are."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.count()).select_from(pictures)) or 0

    def star(self, picture: str, starred: bool) -> Saved:
        """Star the picture or no longer.

        Raises:
            NotFound: there is none.
        """
        with self._database.writing() as connection:
            connection.execute(update(pictures).where(pictures.c.id == picture).values(starred=starred))
        return self.get(picture)

    def delete(self, picture: str) -> None:
        """Delete the picture and its files.

        Raises:
            NotFound: there is none.
        """
        found = self.get(picture)
        with self._database.writing() as connection:
            connection.execute(delete(pictures).where(pictures.c.id == picture))
        place(self.made, picture, found.format).unlink(missing_ok=True)
        place(self.small, picture, "webp").unlink(missing_ok=True)

    def file(self, picture: str) -> Path:
        """Return where the file of the picture is.

        Raises:
            NotFound: there is no such picture, or its file is gone.
        """
        path = place(self.made, picture, self.get(picture).format)
        if not path.is_file():
            raise NotFound(f"The file of picture {picture} is gone.")
        return path

    def thumbnail(self, picture: str) -> Path:
        """Return where the thumbnail of the picture is, a WebP file; made when it is first asked for.

        Raises:
            NotFound: there is no such picture.
        """
        path = place(self.small, picture, "webp")
        if not path.is_file():
            with self._decoders:
                image = open_image(self.file(picture)).convert("RGB")
            image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
            with written_whole(path) as temporary:
                image.save(temporary, format="WEBP", quality=82)
        return path

    def upload(self, data: bytes, pixels: int, most: int) -> Upload:
        """Keep a picture that somebody sent, decoded and written again: its pixels, upright, and nothing else of it.

        Args:
            data: of the file.
            pixels: that it may have at most.
            most: uploads to keep; the oldest that no job names makes room.

        Raises:
            TooLarge: it has more pixels.
            InvalidInput: it is not a picture of an accepted format, or a damaged one.
        """
        image = self.decoded(data, pixels)
        id_ = f"u{secrets.token_hex(10)}"
        with written_whole(place(self.sent, id_, "png")) as temporary:
            image.save(temporary, format="PNG", compress_level=1)
        kept = Upload(id=id_, width=image.width, height=image.height, pixels=pixels_digest(image))
        with self._database.writing() as connection:
            connection.execute(insert(uploads).values(**kept.plain(), created=time.time()))
        self._make_room(most)
        return kept

    def decoded(self, data: bytes, pixels: int) -> Image.Image:
        """Return the picture in `data`, upright, as L, RGB or RGBA; see `upload`."""
        with self._decoders, _opened(data, pixels) as image:
            image.load()
            return _plain(ImageOps.exif_transpose(image))

    def looked_at(self, data: bytes, pixels: int) -> None:
        """Check that `data` is a picture that may be sent, without decoding it; see `upload`."""
        with _opened(data, pixels):
            pass

    def source(self, id_: str) -> tuple[Path, str]:
        """Return the file and `pixels_digest` of an upload or a picture, to begin another one with.

        Raises:
            NotFound: there is none.
        """
        with self._database.reading() as connection:
            row = connection.execute(select(uploads).where(uploads.c.id == id_)).first()
        if row is not None:
            return place(self.sent, id_, "png"), row.pixels
        if id_.startswith("p"):
            return self.file(id_), self.get(id_).pixels
        raise NotFound(f"There is no upload or picture {id_!r:.60}.")

    def with_pixels(self, digest: str) -> str | None:
        """Return the id of an upload or a picture with this `pixels_digest`; None when there is none."""
        with self._database.reading() as connection:
            for table in (uploads, pictures):
                query = select(table.c.id).where(table.c.pixels == digest).order_by(table.c.number.desc())
                if found := connection.scalar(query):
                    return str(found)
        return None

    def sweep(self) -> int:
        """Delete files that belong to no row, as a crash leaves them, and return how many; not while a job runs."""
        with self._database.reading() as connection:
            known = {*connection.scalars(select(pictures.c.id)), *connection.scalars(select(uploads.c.id))}
        stray = [path for path in self._files() if path.name.partition(".")[0] not in known]
        for path in stray:
            path.unlink(missing_ok=True)
        return len(stray)

    def _files(self) -> Iterator[Path]:
        for part in (self.made, self.sent, self.small):
            yield from (path for path in part.rglob("*") if path.is_file())

    def _make_room(self, most: int) -> None:
        with self._database.writing() as connection:
            there = connection.execute(select(uploads.c.id).order_by(uploads.c.number.desc()).offset(most)).scalars()
            used = {id_ for sources in connection.scalars(select(jobs.c.sources)) for id_ in sources}
            gone = [id_ for id_ in there if id_ not in used]
            connection.execute(delete(uploads).where(uploads.c.id.in_(gone)))
        for id_ in gone:
            place(self.sent, id_, "png").unlink(missing_ok=True)


@contextmanager
def _opened(data: bytes, pixels: int) -> Iterator[Image.Image]:
    """Yield the picture in `data`, its pixels not yet read, and translate what Pillow raises from then on."""
    try:
        with Image.open(io.BytesIO(data), formats=ACCEPTED) as image:
            if image.width * image.height > pixels:
                raise TooLarge(f"The picture has {image.width}x{image.height} pixels; {pixels:,} are the most.")
            yield image
    except UnidentifiedImageError as error:
        raise InvalidInput(f"This is not a picture. Send one of {', '.join(ACCEPTED)}.") from error
    except (*DAMAGED, OSError) as error:
        raise InvalidInput("The picture is damaged and cannot be read.") from error


def _plain(image: Image.Image) -> Image.Image:
    """Return `image` on its own, without its file and what else that says, in a mode that counts as itself."""
    mode = image.mode
    if mode not in ("L", "RGB", "RGBA"):
        mode = "RGBA" if image.has_transparency_data else "RGB"
    plain = image.convert(mode) if mode != image.mode else image.copy()
    plain.info = {}
    return plain


def _has(word: str) -> ColumnElement[bool]:
    columns = (pictures.c.prompt, pictures.c.negative_prompt, pictures.c.model, pictures.c.seed)
    return or_(*(column.icontains(word, autoescape=True) for column in columns))


def _row(row: Row[Any] | None, picture: str) -> Row[Any]:
    if row is None:
        raise NotFound(f"There is no picture {picture!r:.60}.")
    return row


def _saved(row: Row[Any]) -> Saved:
    known = {key: value for key, value in row._mapping.items() if key in Saved.model_fields}
    known["created"] = datetime.fromtimestamp(known["created"], timezone.utc)
    known["seed"] = None if known["seed"] is None else int(known["seed"])
    return Saved.model_validate(known)
