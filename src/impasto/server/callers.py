"""Who asks, where a protocol has no names for jobs: each caller's own settings and jobs, while the server runs.

A1111's API has one set of options and one progress for everybody. Here a caller is the user name of HTTP Basic
authentication, if there is one, and the address that the request comes from: two people behind one program are told
apart when it sends different user names.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fastapi import Request

from impasto.server.dialects.a1111_options import Options

REMEMBERED = 1000
"""Callers whose settings are kept; who was here longest ago makes room."""


@dataclass(frozen=True)
class Asked:
    """A job that a caller asked for and waits for.

    Attributes:
        job: its id.
        task: what the caller calls it (`force_task_id`); otherwise the job's id.
        interrupted: whether the caller has interrupted it.
    """

    job: str
    task: str
    interrupted: bool = False


@dataclass
class Caller:
    """What is known of one caller: `options`, and the jobs that it waits for, oldest first."""

    options: Options = field(default_factory=Options)
    asked: tuple[Asked, ...] = ()


class Callers:
    """All callers, by name."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Caller] = OrderedDict()
        self._lock = threading.Lock()

    def options(self, name: str) -> Options:
        """Return the settings of a caller."""
        with self._lock:
            return self._caller(name).options

    def choose(self, name: str, options: Options) -> None:
        """Give a caller other settings."""
        with self._lock:
            self._caller(name).options = options

    def waits(self, name: str, job: str, task: str | None) -> None:
        """Remember that a caller waits for `job`, which it calls `task`."""
        with self._lock:
            caller = self._caller(name)
            caller.asked = (*caller.asked, Asked(job, task or job))

    def has(self, name: str, job: str) -> None:
        """Forget that a caller waits for `job`."""
        with self._lock:
            caller = self._caller(name)
            caller.asked = tuple(asked for asked in caller.asked if asked.job != job)

    def newest(self, name: str, task: str | None = None) -> Asked | None:
        """Return the job that a caller asked for last, or the one that it calls `task`; None when there is none."""
        with self._lock:
            found = (asked for asked in reversed(self._caller(name).asked) if task in (None, asked.task, asked.job))
            return next(found, None)

    def interrupt(self, name: str, job: str) -> None:
        """Remember that a caller interrupted `job`."""
        with self._lock:
            caller = self._caller(name)
            caller.asked = tuple(replace(one, interrupted=one.interrupted or one.job == job) for one in caller.asked)

    def _caller(self, name: str) -> Caller:
        if name not in self._known:
            self._known[name] = Caller()
            for idle in [*self._idle(but=name)][: max(0, len(self._known) - REMEMBERED)]:
                del self._known[idle]
        self._known.move_to_end(name)
        return self._known[name]

    def _idle(self, but: str) -> Iterator[str]:
        return (name for name, caller in self._known.items() if name != but and not caller.asked)


def caller_of(request: Request) -> str:
    """Return the name of whoever sent `request`."""
    host = request.client.host if request.client else ""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return f"@{host}"
    try:
        user = base64.b64decode(value, validate=True).decode("utf-8").partition(":")[0]
    except (binascii.Error, ValueError):
        return f"@{host}"
    return f"{user[:200]}@{host}"
