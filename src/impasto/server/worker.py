"""The process that makes pictures: takes tasks out of a pipe, keeps one model in memory, says how far it is.

It knows nothing of the queue. Messages are JSON in both directions, so that neither side runs what the other sends; the
pictures themselves go through the file system. When the pipe ends, so does the process: a server that dies leaves no
worker behind.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import gc
import io
import json
import math
import os
import queue
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from impasto.errors import ImpastoError, NotFound
from impasto.schema import Frozen
from impasto.server.places import picture_id, place

PREVIEW_SIDE = 512
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory")


class Setup(Frozen):
    """How the worker works.

    Attributes:
        folder: for finished pictures.
        device: that the networks are on.
        dtype: of the networks; None as `impasto.load` has it.
        threads: of torch; None for as many as it takes.
        preview_seconds: least time between two previews; None for none.
        sign: whether to put content credentials into the pictures.
        adapters: that prompts may call, for `impasto.load`.
        embeddings: the same.
    """

    folder: Path
    device: str = "cpu"
    dtype: str | None = None
    threads: int | None = None
    preview_seconds: float | None = 0.5
    sign: bool = True
    adapters: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()


class ModelPlace(Frozen):
    """A model to load: its identity and where it is."""

    identity: str
    path: Path


class Item(Frozen):
    """A picture or a sheet to make.

    Attributes:
        job: that it belongs to.
        number: which picture or sheet of the job it is.
        recipe: of a picture.
        sheet: what is on a sheet.
        alike: digest of what its recipe shares with others; those in a row with the same are made together.
        sources: files of the pictures that it begins with.
        edited: whether it is an earlier picture of ours changed.
        second: the model that makes its second pass, where that is another one.
    """

    job: str
    number: int
    recipe: dict[str, Any] | None = None
    sheet: dict[str, Any] | None = None
    alike: str = ""
    sources: tuple[Path, ...] = ()
    edited: bool = False
    second: ModelPlace | None = None


class Task(Frozen):
    """What to do under one lease; pictures in a row that are alike are made `batch` at a time."""

    lease: str
    model: ModelPlace
    batch: int = 1
    items: tuple[Item, ...]


def run(connection: Connection, setup: dict[str, Any]) -> None:
    """Work until the pipe ends; the process's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the server, which ends this one
    _be_the_first_to_go()
    Worker(connection, Setup.model_validate(setup)).work()


def _be_the_first_to_go() -> None:
    """Tell Linux to end this process rather than the server when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("700", encoding="ascii")


@dataclass
class Worker:
    """What is in memory of the worker process."""

    connection: Connection
    setup: Setup
    model: Any = None
    loaded: ModelPlace | None = None
    second: ModelPlace | None = None
    tasks: queue.SimpleQueue[Task | ModelPlace] = field(default_factory=queue.SimpleQueue)
    cancelled: set[tuple[str, str]] = field(default_factory=set)
    _sending: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> None:
        """Do one task after another."""
        threading.Thread(target=self._listen, daemon=True).start()
        self._prepare()
        self.say("ready")
        while True:
            task = self.tasks.get()
            if isinstance(task, ModelPlace):
                with contextlib.suppress(Exception):  # what is wrong is said to the job that needs it
                    self._load(task)
                continue
            self._do(task)
            self.cancelled = {pair for pair in self.cancelled if pair[1] != task.lease}
            self.say("finished", lease=task.lease)

    def say(self, what: str, **more: Any) -> None:
        """Send a message to the server."""
        data = json.dumps({"said": what, **more}).encode()
        try:
            with self._sending:
                self.connection.send_bytes(data)
        except OSError:
            os._exit(0)

    def _listen(self) -> None:
        while True:
            try:
                message = json.loads(self.connection.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)  # the server is gone, and with it whoever could want what is being made
            if message["do"] == "make":
                self.tasks.put(Task.model_validate(message["task"]))
            elif message["do"] == "load":
                self.tasks.put(ModelPlace.model_validate(message["model"]))
            elif message["do"] == "cancel":
                self.cancelled.add((message["job"], message["lease"]))

    def _prepare(self) -> None:
        import torch

        if self.setup.threads:
            torch.set_num_threads(self.setup.threads)

    def _do(self, task: Task) -> None:
        for _, alike in groupby(task.items, key=lambda item: item.alike or item.number):
            items = list(alike)
            for first in range(0, len(items), task.batch):
                self._attempt(task, items[first : first + task.batch])

    def _attempt(self, task: Task, items: Sequence[Item]) -> None:
        """Make `items` together; when that fails, one by one, so that none fails for another."""
        wanted = [item for item in items if (item.job, task.lease) not in self.cancelled]
        if not wanted:
            return
        try:
            self._make(task, wanted)
        except Exception as error:  # a generation that fails, however it does, is that job's failure and no more
            if len(wanted) > 1:
                for item in wanted:
                    self._attempt(task, [item])
                return
            self._fail(task, wanted[0], error)

    def _fail(self, task: Task, item: Item, error: Exception) -> None:
        self.cancelled.add((item.job, task.lease))  # the rest of a failed job is not made
        code, message = said_of(error, {task.model.path: "the model", self.setup.folder: "the library"})
        details = "".join(traceback.format_exception(error)) if code == "unexpected" else None
        self.say("failed", job=item.job, lease=task.lease, code=code, message=message, details=details)
        if code == "out_of_memory":
            self._forget()

    def _make(self, task: Task, items: Sequence[Item]) -> None:
        for item in items:
            if item.sheet is not None:
                self._lay_out(task, item)
        pictures = [item for item in items if item.recipe is not None]
        if pictures:
            self._paint(task, pictures)

    def _paint(self, task: Task, items: Sequence[Item]) -> None:
        from impasto.pictures.formats import open_image
        from impasto.recipe import Recipe

        model = self._followed(self._load(task.model), items[0].second)
        recipes = [Recipe.model_validate(item.recipe) for item in items]
        sources = [open_image(path) for path in dict.fromkeys(path for item in items for path in item.sources)]
        jobs = {item.job: sum(item.job == other.job for other in items) for item in items}
        shown = -math.inf
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of half precision that fails and is made again
            for progress in model.make(recipes, sources=sources):
                if all((job, task.lease) in self.cancelled for job in jobs):
                    return
                self.say("step", jobs=jobs, lease=task.lease, step=progress.step, steps=progress.steps)
                if progress.made:
                    for item, picture in zip(items, progress.made, strict=True):
                        self._keep(task, item, picture)
                elif self.setup.preview_seconds is not None and time.monotonic() - shown >= self.setup.preview_seconds:
                    self._preview(task, items, model.preview(progress.x0))
                    shown = time.monotonic()

    def _keep(self, task: Task, item: Item, picture: Any) -> None:
        if (item.job, task.lease) in self.cancelled:
            return
        path = place(self.setup.folder, picture_id(item.job, item.number), "png")
        picture.save(path)
        self._sign(item, path, picture)
        self._made(task, item, path, picture.image, picture.recipe.plain())

    def _sign(self, item: Item, path: Path, picture: Any) -> None:
        """Put a content credential into the file; one that cannot be signed is better kept without than lost."""
        if not self.setup.sign:
            return
        from impasto.errors import CredentialError
        from impasto.rights import credentials, receipts

        edited = item.edited or picture.recipe.start is not None
        made_of = receipts.of(self.model, picture.recipe)
        made = credentials.Made(picture.image, picture.recipe, made_of, item.sources, edited)
        try:
            credentials.sign(path, made)
        except CredentialError as error:
            self.say("unsigned", job=item.job, reason=str(error))

    def _made(self, task: Task, item: Item, path: Path, image: Any, recipe: dict[str, Any] | None = None) -> None:
        from impasto.pictures.origin import pixels_digest

        size = {"width": image.width, "height": image.height, "bytes": path.stat().st_size}
        told = {**size, "recipe": recipe, "pixels": pixels_digest(image)}
        self.say("made", job=item.job, lease=task.lease, number=item.number, **told)

    def _lay_out(self, task: Task, item: Item) -> None:
        from impasto.pictures import png
        from impasto.pictures.formats import open_image
        from impasto.pictures.sheet import labelled_grid

        sheet = item.sheet or {}
        cells = [place(self.setup.folder, picture_id(item.job, cell), "png") for cell in sheet["cells"]]
        if not all(cell.is_file() for cell in cells):
            raise NotFound("A picture of the grid was deleted before the sheet was made.")
        titles = {"title": sheet["title"], "subtitle": sheet["subtitle"]}
        image = labelled_grid(list(map(open_image, cells)), sheet["columns"], sheet["rows"], **titles)
        path = place(self.setup.folder, picture_id(item.job, item.number), "png")
        png.save(image, path)
        self._made(task, item, path, image)

    def _preview(self, task: Task, items: Sequence[Item], images: Sequence[Any]) -> None:
        from PIL import Image

        seen = set()
        for item, image in zip(items, images, strict=True):
            if item.job in seen:
                continue
            seen.add(item.job)
            scale = PREVIEW_SIDE / max(image.size)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            data = io.BytesIO()
            image.resize(size, Image.Resampling.BICUBIC).save(data, format="JPEG", quality=70)
            encoded = base64.b64encode(data.getvalue()).decode("ascii")
            self.say("preview", job=item.job, lease=task.lease, number=item.number, jpeg=encoded)

    def _load(self, wanted: ModelPlace) -> Any:
        if self.loaded == wanted:
            return self.model
        self._forget()
        self.say("loading", digest=wanted.identity)
        started = time.monotonic()
        self.model = self._opened(wanted)
        self.loaded = wanted
        self.say("loaded", digest=wanted.identity, seconds=time.monotonic() - started)
        return self.model

    def _opened(self, wanted: ModelPlace) -> Any:
        import impasto
        from impasto.pipeline import DTYPES

        return impasto.load(
            wanted.path,
            device=self.setup.device,
            dtype=DTYPES[self.setup.dtype] if self.setup.dtype else None,
            adapters=self.setup.adapters,
            embeddings=self.setup.embeddings,
        )

    def _followed(self, model: Any, second: ModelPlace | None) -> Any:
        """Return `model` with the one at `second` to make second passes, which stays in memory while it is used."""
        if second != self.second:
            self.second, self.model = None, replace(model, second=None)  # one of them at most is in memory besides
            self.model = model.followed_by(self._opened(second)) if second else self.model
            self.second = second
        return self.model

    def _forget(self) -> None:
        """Let go of the model, and of its memory."""
        self.model, self.loaded, self.second = None, None, None
        gc.collect()
        torch = sys.modules.get("torch")
        if torch and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if sys.platform == "linux":
            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL("libc.so.6").malloc_trim(0)


def said_of(error: Exception, paths: dict[Path, str]) -> tuple[str, str]:
    """Return a code and a sentence for the client, in which no path of this machine stands."""
    if isinstance(error, ImpastoError):
        name = type(error).__name__
        code = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
        return code, without_paths(str(error), paths)
    if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in OUT_OF_MEMORY):
        return "out_of_memory", "There was not enough memory. Ask for a smaller picture or fewer at a time."
    return (
        "unexpected",
        f"This failed in a way that nobody foresaw ({type(error).__name__}). The server's log says more.",
    )


def without_paths(message: str, known: dict[Path, str]) -> str:
    """Return `message` with the `known` paths by their names, and every other absolute path by three dots."""
    for path, name in known.items():
        message = message.replace(str(path), name)
    return " ".join(_words_without_paths(message))


def _words_without_paths(message: str) -> Iterator[str]:
    for word in message.split(" "):
        bare = word.strip("'\"(),;:.")
        absolute = len(bare) > 1 and (bare.startswith("/") or bare[1:3] in (":\\", ":/"))
        yield word.replace(bare, "...") if absolute else word
