"""The one service behind every API: take what a client says, make a job of it, tell how far it is, find pictures."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import Field

from impasto.errors import InvalidInput
from impasto.schema import Frozen
from impasto.server.database import Database
from impasto.server.events import Hub
from impasto.server.jobs import Job, JobError, NewJob, Queue, State
from impasto.server.metrics import Metrics
from impasto.server.models import Shelf
from impasto.server.pictures import Library, PictureFacts, Saved
from impasto.server.recall import Recall, Recaller
from impasto.server.requests import Desk, GenerateRequest, GridRequest, UpscaleRequest
from impasto.server.settings import Settings
from impasto.server.supervisor import Supervisor
from impasto.server.worker import Setup

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.1
"""Least time between two events that only say how far a job is."""


class FolderTaken(InvalidInput):
    """Another server uses the folder."""


class JobView(Frozen):
    """A job as clients see it.

    Attributes:
        id: of the job.
        kind: generate, grid or upscale.
        state: queued, running, done, failed or cancelled.
        position: how many jobs come before it; None when it does not wait.
        progress: 0 to 1.
        step: of the pictures that are being made.
        steps: of those pictures.
        eta_seconds: that are left once it runs; None when that is not known.
        preview: where a picture of how it looks now is; None where there is none.
        request: what was asked for.
        recipes: of its pictures.
        pictures: ids of those that are finished.
        error: why it failed.
        attempts: how often its making was begun.
        priority: jobs of a higher one come first.
        created: when it was asked for.
        started: when its making was begun.
        finished: when it ended.
    """

    id: str
    kind: str
    state: State
    position: int | None
    progress: float = Field(ge=0, le=1)
    step: int
    steps: int
    eta_seconds: float | None
    preview: str | None
    request: dict[str, Any]
    recipes: tuple[dict[str, Any], ...]
    pictures: tuple[str, ...]
    error: JobError | None
    attempts: int
    priority: int
    created: datetime
    started: datetime | None
    finished: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it by itself."""
        return self.state in ("done", "failed", "cancelled")


class PictureView(PictureFacts):
    """A picture of the library as clients see it.

    Attributes:
        url: of its file.
        thumbnail: url of a small picture of it.
    """

    url: str
    thumbnail: str


class Service:
    """A queue, a library, models, and a worker that makes pictures.

    Methods may be called from any thread; `wait` and `follow` belong to an event loop.
    """

    def __init__(self, settings: Settings) -> None:
        """Open everything in the settings' folder; nothing is made before `start`.

        Raises:
            FolderTaken: another server uses the folder.
            InvalidInput: the database cannot be opened.
            NotFound, WeightsError: a model cannot be used.
        """
        self.settings = settings
        settings.data.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(settings)
        self.metrics = Metrics()
        called = {"adapters": settings.adapters, "embeddings": settings.embeddings}
        self.shelf = Shelf(settings.models, settings.device, settings.dtype, **called)
        self.database = Database(settings.database)
        self.queue = Queue(self.database)
        self.library = Library(self.database, settings.data)
        self.desk = Desk(self.shelf, self.library, settings.limits)
        self.recaller = Recaller(self.shelf, self.library)
        self.hub = Hub(settings.limits.max_subscribers)
        self.supervisor = Supervisor(
            self.queue,
            self.library,
            self.shelf,
            Setup(
                folder=self.library.made,
                device=settings.device,
                dtype=settings.dtype,
                threads=settings.threads,
                preview_seconds=settings.preview_seconds,
                sign=settings.sign,
                adapters=settings.adapters,
                embeddings=settings.embeddings,
            ),
            settings.batch,
            settings.batch_pixels,
            self._job_changed,
            self._picture_kept,
            self._beat,
            self.metrics,
        )
        self._line_moved = False
        self._told: dict[str, tuple[float, State]] = {}
        self._telling = threading.Lock()
        for state in ("queued", "running"):
            self.metrics.gauge(f"jobs_{state}", f"Jobs that are {state}.", partial(self._count, state))
        self.metrics.gauge("subscribers", "Clients that listen to events.", lambda: self.hub.listeners)

    def _count(self, state: str) -> int:
        return self.queue.counts()[state]

    def start(self) -> None:
        """Begin to make what is in the queue."""
        self.supervisor.start()

    def closing(self) -> None:
        """End every subscription, so that connections can be closed."""
        self.hub.close()

    def stop(self) -> None:
        """Let what runs finish within the grace time, or put it back into the queue, and close everything."""
        self.closing()
        self.supervisor.stop(self.settings.grace_seconds)
        self.database.close()
        self._lock.close()

    @property
    def ready(self) -> bool:
        """Whether a job that comes now would be made."""
        return self.supervisor.ready

    def submit(self, new: NewJob, key: str | None = None) -> JobView:
        """Put a job of `desk` into the queue.

        Args:
            new: the job.
            key: a name of the client's for the request; the same again is answered with the same job.

        Raises:
            QueueFull: as many wait as may.
            Conflict: the key was used for another request.
        """
        job, fresh = self.queue.submit(new.model_copy(update={"idempotency_key": key}), self.settings.limits.max_queue)
        if fresh:
            self._job_changed(job.id)
            self.supervisor.ring()
        return self.view(job)

    def generate(self, request: GenerateRequest, key: str | None = None) -> JobView:
        """Ask for pictures; see `Desk.generate` and `submit`."""
        return self.submit(self.desk.generate(request), key)

    def grid(self, request: GridRequest, key: str | None = None) -> JobView:
        """Ask for a grid; see `Desk.grid` and `submit`."""
        return self.submit(self.desk.grid(request), key)

    def upscale(self, picture: str, request: UpscaleRequest, key: str | None = None) -> JobView:
        """Ask for a larger picture; see `Desk.upscale` and `submit`."""
        return self.submit(self.desk.upscale(self.library.get(picture), request), key)

    def job(self, job: str) -> JobView:
        """Return the job with the id `job`, or raise NotFound."""
        return self.view(self.queue.get(job))

    def jobs(self, state: State | None = None, limit: int = 50, before: str | None = None) -> list[JobView]:
        """Return jobs; see `Queue.listed`."""
        found = self.queue.listed(state, limit, before)
        pictures = self.library.ids_of([job.id for job in found])
        return [self.view(job, pictures[job.id]) for job in found]

    def cancel(self, job: str) -> JobView:
        """End a job that waits or runs; see `Queue.cancel`."""
        cancelled = self.queue.cancel(job)
        self.supervisor.cancel(job)
        self._job_changed(job)
        return self.view(cancelled)

    def retry(self, job: str) -> JobView:
        """Try a job that failed or was cancelled again; see `Queue.retry`."""
        again = self.queue.retry(job)
        self._job_changed(job)
        self.supervisor.ring()
        return self.view(again)

    def prioritise(self, job: str, priority: int) -> JobView:
        """Give a waiting job another priority; see `Queue.prioritise`."""
        self.queue.prioritise(job, priority)
        self._line_moved = True
        return self.job(job)

    def move(self, job: str, before: str | None) -> JobView:
        """Put a waiting job somewhere else in the queue; see `Queue.move`."""
        self.queue.move(job, before)
        self._line_moved = True
        return self.job(job)

    def preview(self, job: str) -> bytes | None:
        """Return what a running job looks like now, JPEG; None where there is nothing to see."""
        live = self.supervisor.live.get(job)
        return live.preview if live else None

    async def wait(self, job: str, seconds: float | None = None) -> JobView:
        """Return the job once it has ended.

        Raises:
            NotFound: there is no such job.
            TimeoutError: it has not, after `seconds`.
        """

        async def ended() -> JobView:
            async for view in self.follow(job):
                if view.ended:
                    return view
            return await asyncio.to_thread(self.job, job)

        return await asyncio.wait_for(ended(), seconds)

    async def follow(self, job: str) -> AsyncIterator[JobView]:
        """Yield the job as it is, and again whenever it has changed, until it has ended.

        Raises:
            NotFound: there is no such job.
        """
        after = self.hub.last
        view = await asyncio.to_thread(self.job, job)
        yield view
        if view.ended:
            return
        events = self.hub.subscribe(after, lambda event: event.name == "job" and event.thing == job)
        try:
            async for event in events:
                if event is None:
                    view = await asyncio.to_thread(self.job, job)
                else:
                    view = JobView.model_validate(event.data)
                yield view
                if view.ended:
                    return
        finally:
            await events.aclose()  # type: ignore[attr-defined]  # an async generator

    def picture(self, picture: str) -> PictureView:
        """Return the picture with the id `picture`, or raise NotFound."""
        return picture_view(self.library.get(picture))

    def star(self, picture: str, starred: bool) -> PictureView:
        """Star a picture or no longer, or raise NotFound."""
        self.library.star(picture, starred)
        self._picture_kept(picture)
        return self.picture(picture)

    def delete(self, picture: str) -> None:
        """Delete a picture and its files, or raise NotFound."""
        self.library.delete(picture)
        self.hub.retract("picture", picture)
        self.hub.publish("removed", picture, {"id": picture})

    def recall(self, data: bytes) -> Recall:
        """Say what the picture in `data` says of how it was made; see `Recaller.sent`."""
        return self.recaller.sent(data, self.settings.limits.max_upload_pixels)

    def pictures_of(self, job: str) -> list[PictureView]:
        """Return the pictures and sheets of `job`, in order."""
        return [picture_view(picture) for picture in self.library.of(job)]

    def view(self, job: Job, pictures: list[str] | None = None) -> JobView:
        """Return `job` as clients see it."""
        live = self.supervisor.live.get(job.id) if job.state == "running" else None
        progress = live.progress if live else job.made / job.total
        if pictures is None:
            pictures = self.library.ids_of([job.id])[job.id]
        plain = job.model_dump(include=set(JobView.model_fields) & set(Job.model_fields))
        return JobView(
            **plain,
            progress=1.0 if job.state == "done" else min(progress, 1.0),
            step=live.step if live else 0,
            steps=(live.steps if live else 0) or job.recipes[0]["steps"],
            eta_seconds=live.eta_seconds if live else None,
            preview=f"/api/jobs/{job.id}/preview?n={live.previews}" if live and live.preview else None,
            pictures=tuple(pictures),
        )

    def _job_changed(self, job: str) -> None:
        """Tell those who listen; not too often when only its progress changed."""
        view = self.job(job)
        now = time.monotonic()
        with self._telling:
            then, state = self._told.get(job, (0.0, None))
            if state == view.state == "running" and now - then < PROGRESS_SECONDS and view.step < view.steps:
                return
            self._told[job] = (now, view.state)
            if view.ended:
                self._told.pop(job)
        self.hub.publish("job", job, view.model_dump(mode="json"))
        self._line_moved |= state != view.state

    def _beat(self) -> None:
        """Tell those who listen of the new positions of the jobs that wait, of as many as anybody looks at."""
        if self._line_moved:
            self._line_moved = False
            for view in self.jobs("queued", limit=50):
                self.hub.publish("job", view.id, view.model_dump(mode="json"))

    def _picture_kept(self, picture: str) -> None:
        self.hub.publish("picture", picture, self.picture(picture).model_dump(mode="json"))


def picture_view(picture: Saved) -> PictureView:
    """Return `picture` as clients see it."""
    where = f"/api/pictures/{picture.id}"
    return PictureView(
        **picture.model_dump(exclude={"row", "pixels"}), url=f"{where}/file", thumbnail=f"{where}/thumbnail"
    )


def _locked(settings: Settings) -> sqlite3.Connection:
    """Take the folder for this process alone, until it ends, and return what holds it: a lock of SQLite's."""
    lock = sqlite3.connect(settings.data / "lock.sqlite", timeout=0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        raise FolderTaken(f"Another server uses {settings.data}. Stop it, or use another folder: --data.") from error
    return lock
