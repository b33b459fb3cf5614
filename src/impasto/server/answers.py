"""Jobs behind an API that answers a request with its pictures: what was asked is queued, waited for, and delivered."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from PIL import Image

from impasto.errors import ImpastoError, JobFailed
from impasto.server.events import TooManySubscribers
from impasto.server.pictures import Upload
from impasto.server.service import JobView, PictureView, Service

LOOK_SECONDS = 0.5
"""How often it is looked whether a client is still there."""


class ClientGone(Exception):
    """Nobody waits for the answer any more; the job was cancelled, or goes on because it was to be kept."""


@dataclass(frozen=True)
class Delivered:
    """A picture of a finished job, and where its file is."""

    picture: PictureView
    path: Path


async def ended(service: Service, job: str, request: Request, *, keep: bool = False) -> JobView:
    """Return the job once it has ended.

    Args:
        service: that makes it.
        job: its id.
        request: that waits for it.
        keep: whether to go on with it when the client goes away; otherwise it is cancelled.

    Raises:
        ClientGone: the client went away first.
        JobFailed: the job failed, or the server is being stopped.
    """
    waiting = asyncio.create_task(_waited(service, job))
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            if not keep:
                await asyncio.to_thread(cancelled, service, job)
            raise ClientGone
        return _successful(waiting.result())
    finally:
        waiting.cancel()
        leaving.cancel()


async def _waited(service: Service, job: str) -> JobView:
    """Return the job once it has ended; where as many listen as may, by asking now and then."""
    try:
        return await service.wait(job)
    except TooManySubscribers:
        while not (view := await asyncio.to_thread(service.job, job)).ended:
            await asyncio.sleep(LOOK_SECONDS)
        return view


async def _gone(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(LOOK_SECONDS)


def _successful(view: JobView) -> JobView:
    if view.state == "failed":
        error = view.error
        raise JobFailed(error.code if error else "failed", error.message if error else "The job failed.")
    if not view.ended:
        raise JobFailed("stopping", f"The server is being stopped. The job {view.id} goes on when it starts again.")
    return view


def cancelled(service: Service, job: str) -> None:
    """Cancel the job, unless it has ended by itself."""
    try:
        service.cancel(job)
    except ImpastoError:
        return


def delivered(service: Service, job: str) -> list[Delivered]:
    """Return the pictures of `job`, without sheets, those that have not been deleted since."""
    views = [view for view in service.pictures_of(job) if view.kind == "picture"]
    return [Delivered(view, service.library.file(view.id)) for view in views]


def decoded(service: Service, data: bytes) -> Image.Image:
    """Return the picture in a file that a client sent, upright; see `Library.decoded` for what is refused."""
    return service.library.decoded(data, service.settings.limits.max_upload_pixels)


def uploaded(service: Service, image: Image.Image) -> Upload:
    """Keep `image` for a job to begin with."""
    data = io.BytesIO()
    image.save(data, format="PNG", compress_level=1)
    limits = service.settings.limits
    return service.library.upload(data.getvalue(), limits.max_upload_pixels, limits.max_uploads)
