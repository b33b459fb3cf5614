"""What errors mean in HTTP."""

from __future__ import annotations

from impasto.errors import ImpastoError, JobFailed, NotFound
from impasto.server.events import TooManySubscribers
from impasto.server.jobs import Conflict, QueueFull
from impasto.server.pictures import TooLarge

STATUS: dict[type[ImpastoError], int] = {
    QueueFull: 429,
    TooManySubscribers: 429,
    Conflict: 409,
    TooLarge: 413,
    NotFound: 404,
    JobFailed: 500,
    ImpastoError: 422,
}
"""By the first class that fits."""


def status_of(error: ImpastoError) -> int:
    """Return the status that says `error`."""
    return next(status for kind, status in STATUS.items() if isinstance(error, kind))
