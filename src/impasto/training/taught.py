"""Pictures that a model is to be taught from: a person's folder, or a corpus; each a row that says whose it is."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from impasto.corpus import merkle
from impasto.corpus.dataset import refuse
from impasto.corpus.record import Row, Work
from impasto.corpus.render import Rendered, render
from impasto.corpus.sources import Place
from impasto.corpus.sources.folder import FolderSource, mask_of
from impasto.corpus.statement import Statement
from impasto.corpus.store import MANIFEST, Corpus, canonical_order, root_of, upright
from impasto.errors import CorpusError, InvalidInput
from impasto.files import write_bytes
from impasto.receipt import CorpusUse
from impasto.schema import bytes_digest
from impasto.training.draws import shuffled
from impasto.training.plans import Selection

NO_CAPTION = ""


@dataclass(frozen=True, eq=False)
class Taught:
    """Pictures, their rows, and what the receipt says of them.

    Attributes:
        name: of the folder or corpus.
        rows: those learned from, and those held out.
        picture: gives the picture of a row, RGBA and upright.
        mask: gives the mask of a row, `L`, white where the picture counts; None where it has none of its own.
        root: Merkle root of the corpus or folder that the rows are from.
        policy: digest of the policy that admitted them, or of what a person stated.
    """

    name: str
    rows: tuple[Row, ...]
    picture: Callable[[Row], Image.Image]
    mask: Callable[[Row], Image.Image | None]
    root: str
    policy: str

    @property
    def train(self) -> tuple[Row, ...]:
        """The rows that are learned from."""
        return tuple(row for row in self.rows if row.split == "train")

    @property
    def held_out(self) -> tuple[Row, ...]:
        """The rows that are never learned from."""
        return tuple(row for row in self.rows if row.split == "held-out")

    @property
    def use(self) -> CorpusUse:
        """What the receipt says."""
        bases = Counter[str](row.consent.basis for row in self.train)
        return CorpusUse(
            root=self.root, selection=root_of(self.train), rows=len(self.train), policy=self.policy, bases=dict(bases)
        )

    def holding_out(self, share: float, seed: int) -> Taught:
        """Return the same with this `share` of the rows held out, none when that is less than one, and never all."""
        if self.held_out or not (count := min(int(len(self.rows) * share), len(self.rows) - 1)):
            return self
        chosen = set(shuffled(seed, 0, count, len(self.rows)).tolist())
        split = [
            row.model_copy(update={"split": "held-out"}) if place in chosen else row
            for place, row in enumerate(self.rows)
        ]
        return replace(self, rows=tuple(split), root=root_of(split))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write `rows`, one canonical JSON a line in the order of their Merkle root, so that anyone can check it."""
    write_bytes(path, b"".join(row.leaf() + b"\n" for row in canonical_order(rows)))


def rows_root(path: Path) -> str:
    """Return the Merkle root over the rows in the file at `path`, as `write_rows` left them."""
    return merkle.root([merkle.leaf_hash(line) for line in path.read_bytes().splitlines()])


def open_taught(place: Path, statement: Statement, select: Selection, size: int) -> Taught:
    """Return the pictures in `place`, a folder of pictures or a corpus.

    Args:
        place: of the folder; a corpus is told by its `corpus.json`, and its policy judges every row again.
        statement: what a person said of a folder's pictures; a corpus speaks for itself.
        select: rows of a corpus.
        size: side in pixels at which vector drawings are drawn.

    Raises:
        InvalidInput: the folder holds no pictures, or something is said about a corpus.
        CorpusError: the pictures cannot be read, or the corpus is damaged or must not be used.
    """
    if (place / MANIFEST).is_file():
        if statement != Statement():
            raise InvalidInput(f"{place} is a corpus, and its rows say whose they are. Leave out what is said of them.")
        return _corpus(Corpus.open(place), select)
    return _folder(place, statement, size)


def _corpus(corpus: Corpus, select: Selection) -> Taught:
    refuse(corpus, corpus.policy)
    rows = tuple(
        row
        for row in corpus.rows
        if (not select.collections or row.source.collection in select.collections)
        and (not select.concepts or row.concept in select.concepts)
    )
    if not any(row.split == "train" for row in rows):
        raise InvalidInput(f"`select` leaves no rows of {corpus.folder} to learn from.")
    manifest = corpus.manifest
    return Taught(manifest.name, rows, corpus.image, lambda _: None, manifest.root, manifest.policy)


def _folder(folder: Path, statement: Statement, size: int) -> Taught:
    source = FolderSource(
        kind="folder",
        path=folder.resolve(),
        collection=folder.resolve().name or "pictures",
        version=_state(folder),
        maker=statement.maker,
        licence=statement.licence,
        consent=statement.basis,
        caption=NO_CAPTION,
        stated_in="the command line",
    )
    rows, data, masks = [], {}, {}
    for candidate in source.candidates(Place(folder)):
        work = candidate.work
        assert candidate.drawing is not None  # nothing is refused for want of a caption
        drawn = render(candidate.drawing, None if work.source.file.rpartition(".")[2].lower() != "svg" else size)
        if not isinstance(drawn, Rendered):
            raise CorpusError(f"{folder / work.source.file}: {drawn.reason} Take it out of the folder.")
        row = Row(**{name: getattr(work, name) for name in Work.model_fields}, image=drawn.image)
        rows.append(row)
        data[row.id] = drawn.data
        if mask := mask_of(folder / work.source.file):
            masks[row.key] = mask
    if not rows:
        raise InvalidInput(f"{folder} holds no pictures. Put PNG, JPEG, WebP or SVG files there.")

    def picture(row: Row) -> Image.Image:
        with Image.open(io.BytesIO(data[row.id])) as opened:
            return upright(opened)

    def mask_image(row: Row) -> Image.Image | None:
        if row.key not in masks:
            return None
        with Image.open(masks[row.key]) as opened:
            return opened.convert("L")

    return Taught(source.collection, tuple(rows), picture, mask_image, root_of(rows), statement.digest)


def _state(folder: Path) -> str:
    """Return a name for what is in `folder` now: the start of a digest over its files."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder of pictures.")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    listing = "".join(f"{bytes_digest(file.read_bytes())} {file.relative_to(folder).as_posix()}\n" for file in files)
    return bytes_digest(listing.encode("utf-8")).removeprefix("sha256:")[:16]
