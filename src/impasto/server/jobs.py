"""The queue: what was asked for, what comes next, and that nothing is lost or made twice.

A job waits (`queued`), is made (`running`), and ends as `done`, `failed` or `cancelled`. Whoever makes it holds a
lease: a name that the row carries while it runs. Pictures are kept one by one, in the transaction that counts them:
only the holder of the lease can, and only the one that comes next, so that a picture is in the library exactly once
however often its making was begun.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, or_, select, update

from impasto.errors import InvalidInput, NotFound
from impasto.schema import Frozen
from impasto.server.database import Database, jobs, pictures

State = Literal["queued", "running", "done", "failed", "cancelled"]
Kind = Literal["generate", "grid", "upscale"]
ENDED = ("done", "failed", "cancelled")
PRIORITIES = (-100, 100)

CRASHES = 2
"""Attempts after which a job whose worker died is given up."""

RESTARTS = 5
"""Attempts after which a job during which the whole server died is given up."""


class QueueFull(InvalidInput):
    """As many jobs wait as may."""


class Conflict(InvalidInput):
    """What is asked of a job does not go with the state that it is in, or with what was asked before."""


class JobError(Frozen):
    """Why a job failed."""

    code: str
    message: str


class Job(Frozen):
    """A job as it is now.

    Attributes:
        id: of the job.
        kind: what it makes.
        state: where it stands.
        position: how many jobs come before it; None when it does not wait.
        priority: jobs of a higher one come first.
        model: digest of the model.
        request: what was asked for.
        recipes: of its pictures.
        sheets: of its pictures laid out together, after the pictures themselves.
        sources: ids of the uploads and pictures that it begins with.
        made: how many pictures and sheets are finished.
        total: how many there are to be.
        attempts: how often its making was begun.
        error: why it failed.
        created: when it was asked for.
        started: when its making was begun.
        finished: when it ended.
    """

    id: str
    kind: Kind
    state: State
    position: int | None = None
    priority: int
    model: str
    request: dict[str, Any]
    recipes: tuple[dict[str, Any], ...]
    sheets: tuple[dict[str, Any], ...] = ()
    sources: tuple[str, ...] = ()
    made: int
    total: int
    attempts: int
    error: JobError | None = None
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it by itself."""
        return self.state in ENDED


class NewJob(Frozen):
    """A job to be: see `Job`.

    Attributes:
        alike: digest of what its recipes share, so that it may be made together with others; None not to.
        idempotency_key: a name that the client gave it; asking again under the same name is answered with this job.
        said: digest of what the client asked for.
    """

    kind: Kind = "generate"
    priority: int = Field(default=0, ge=PRIORITIES[0], le=PRIORITIES[1])
    model: str
    request: dict[str, Any]
    recipes: tuple[dict[str, Any], ...]
    sheets: tuple[dict[str, Any], ...] = ()
    sources: tuple[str, ...] = ()
    alike: str | None = None
    idempotency_key: str | None = None
    said: str


@dataclass(frozen=True)
class Claim:
    """Jobs that somebody is to make now, all under one lease, and how many pictures at a time at most."""

    lease: str
    jobs: tuple[Job, ...]
    batch: int = 1


class Queue:
    """The queue in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(self, new: NewJob, most: int) -> tuple[Job, bool]:
        """Put a job at the end of its priority; return it and whether it is new.

        Raises:
            QueueFull: `most` jobs wait already.
            Conflict: the idempotency key belongs to another request.
        """
        with self._database.writing() as connection:
            if new.idempotency_key and (known := _by_key(connection, new.idempotency_key)):
                if known.said != new.said:
                    raise Conflict(
                        "This Idempotency-Key was used for another request. Use a new key for a new request."
                    )
                return _job(known, _position(connection, known)), False
            waiting = connection.scalar(select(func.count()).where(jobs.c.state == "queued")) or 0
            if waiting >= most:
                raise QueueFull(f"{waiting} jobs wait already, as many as may. Try again later.")
            row = {
                **new.model_dump(mode="json"),
                "id": f"j{secrets.token_hex(10)}",
                "state": "queued",
                "place": _last_place(connection, new.priority) + 1,
                "made": 0,
                "total": len(new.recipes) + len(new.sheets),
                "attempts": 0,
                "created": time.time(),
            }
            connection.execute(insert(jobs).values(row))
            return self._get(connection, row["id"]), True

    def get(self, job: str) -> Job:
        """Return the job with the id `job`.

        Raises:
            NotFound: there is none.
        """
        with self._database.reading() as connection:
            return self._get(connection, job)

    def listed(self, state: State | None = None, limit: int = 50, before: str | None = None) -> list[Job]:
        """Return up to `limit` jobs: those that wait in their order, all others newest first.

        Args:
            state: only jobs in this state.
            limit: how many at most.
            before: id of a job; only those that were asked for before it.

        Raises:
            NotFound: no job `before`.
        """
        query = select(jobs).limit(limit)
        if state:
            query = query.where(jobs.c.state == state)
        with self._database.reading() as connection:
            if before:
                query = query.where(jobs.c.number < _row(connection, before).number)
            in_turn = (jobs.c.priority.desc(), jobs.c.place)
            rows = connection.execute(query.order_by(*in_turn if state == "queued" else [jobs.c.number.desc()])).all()
            turns = {id_: turn for turn, id_ in enumerate(_waiting(connection))}
            return [_job(row, turns.get(row.id)) for row in rows]

    def claim(self, batch: int = 1, pixels: int | None = None) -> Claim | None:
        """Take the next job, and with it others that can be made together until there are `batch` pictures.

        A job whose making was begun before is taken alone: if it is what kills the worker, it kills no other.

        Args:
            batch: pictures to make at a time at most.
            pixels: that those have together at most, whatever `batch` is; one picture may have more.
        """
        lease = secrets.token_hex(8)
        with self._database.writing() as connection:
            waits = select(jobs).where(jobs.c.state == "queued").order_by(jobs.c.priority.desc(), jobs.c.place)
            first = connection.execute(waits.limit(1)).first()
            if first is None:
                return None
            batch = min(batch, max(1, pixels // _largest(first.recipes))) if pixels else batch
            taken, pictures_ = [first], first.total - first.made
            if first.alike and not first.attempts and pictures_ < batch:
                like = waits.where(jobs.c.alike == first.alike, jobs.c.attempts == 0, jobs.c.id != first.id)
                for row in connection.execute(like.limit(batch)):
                    if pictures_ < batch:
                        taken.append(row)
                        pictures_ += row.total - row.made
            ids = [row.id for row in taken]
            connection.execute(
                update(jobs)
                .where(jobs.c.id.in_(ids))
                .values(state="running", lease=lease, attempts=jobs.c.attempts + 1, started=time.time(), error=None)
            )
            return Claim(lease, tuple(self._get(connection, id_) for id_ in ids), batch)

    def keep(self, job: str, lease: str, number: int, picture: Mapping[str, Any]) -> Job | None:
        """Put a finished picture into the library and count it, and end the job with the last one.

        Args:
            job: id.
            lease: under which it is made.
            number: which of the job's pictures and sheets it is, from 0.
            picture: row of the library.

        Returns:
            The job after that; None when the lease has ended or the picture is not the one that comes next, and
            nothing was kept.
        """
        holds = and_(jobs.c.id == job, jobs.c.lease == lease, jobs.c.state == "running", jobs.c.made == number)
        with self._database.writing() as connection:
            if connection.execute(update(jobs).where(holds).values(made=number + 1)).rowcount != 1:
                return None
            connection.execute(insert(pictures).values(**picture))
            done = and_(jobs.c.id == job, jobs.c.made == jobs.c.total)
            connection.execute(update(jobs).where(done).values(state="done", lease=None, finished=time.time()))
            return self._get(connection, job)

    def fail(self, job: str, lease: str, error: JobError) -> Job | None:
        """End the job as failed, if it still runs under `lease`."""
        holds = and_(jobs.c.id == job, jobs.c.lease == lease, jobs.c.state == "running")
        ended = {"state": "failed", "lease": None, "finished": time.time(), "error": error.plain()}
        return self._changed(job, holds, ended)

    def give_back(self, lease: str, error: JobError | None = None, most: int | None = None) -> list[Job]:
        """Put what still runs under `lease` back where it waited, what was begun `most` times ends as failed.

        Args:
            lease: that ends.
            error: why, for those that are given up.
            most: attempts that are enough; None when the attempt is not to count.
        """
        with self._database.writing() as connection:
            rows = connection.execute(select(jobs).where(jobs.c.lease == lease, jobs.c.state == "running")).all()
            return [self._given_back(connection, row, error, most) for row in rows]

    def recover(self) -> list[Job]:
        """Put every job that was being made when the server ended back where it waited."""
        error = JobError(code="server_died", message=f"The server ended {RESTARTS} times while this was being made.")
        with self._database.writing() as connection:
            rows = connection.execute(select(jobs).where(jobs.c.state == "running")).all()
            return [self._given_back(connection, row, error, RESTARTS) for row in rows]

    def _given_back(self, connection: Connection, row: Row[Any], error: JobError | None, most: int | None) -> Job:
        values: dict[str, Any] = {"state": "queued", "lease": None}
        if most is None:
            values["attempts"] = row.attempts - 1
        elif error and row.attempts >= most:
            values |= {"state": "failed", "finished": time.time(), "error": error.plain()}
        connection.execute(update(jobs).where(jobs.c.id == row.id).values(**values))
        return self._get(connection, row.id)

    def cancel(self, job: str) -> Job:
        """End the job, unless it has ended; what it has made by then stays.

        Raises:
            NotFound: there is no such job.
            Conflict: it has ended otherwise.
        """
        going = and_(jobs.c.id == job, jobs.c.state.in_(("queued", "running")))
        cancelled = self._changed(job, going, {"state": "cancelled", "lease": None, "finished": time.time()})
        if cancelled is None and (found := self.get(job)).state != "cancelled":
            raise Conflict(f"The job is {found.state}; only one that waits or runs can be cancelled.")
        return cancelled or self.get(job)

    def retry(self, job: str) -> Job:
        """Put a job that failed or was cancelled at the end of its priority; only what is missing is made.

        Raises:
            NotFound: there is no such job.
            Conflict: it has not failed and was not cancelled.
        """
        with self._database.writing() as connection:
            row = _row(connection, job)
            if row.state not in ("failed", "cancelled"):
                raise Conflict(f"The job is {row.state}; only one that failed or was cancelled can be tried again.")
            place = _last_place(connection, row.priority) + 1
            again = {"state": "queued", "place": place, "attempts": 0, "error": None, "started": None, "finished": None}
            connection.execute(update(jobs).where(jobs.c.id == job).values(**again))
            return self._get(connection, job)

    def prioritise(self, job: str, priority: int) -> Job:
        """Give a waiting job another priority, at whose end it then waits.

        Raises:
            NotFound: there is no such job.
            Conflict: it does not wait.
        """
        with self._database.writing() as connection:
            _waits(_row(connection, job))
            place = _last_place(connection, priority) + 1
            connection.execute(update(jobs).where(jobs.c.id == job).values(priority=priority, place=place))
            return self._get(connection, job)

    def move(self, job: str, before: str | None) -> Job:
        """Put a waiting job right before another one, whose priority it takes; or at the end of its own.

        Raises:
            NotFound: there is no such job.
            Conflict: one of them does not wait.
        """
        with self._database.writing() as connection:
            row = _row(connection, job)
            _waits(row)
            priority = row.priority
            if before is not None and before != job:
                other = _row(connection, before)
                _waits(other)
                priority = other.priority
            line = [id_ for id_ in _waiting(connection, priority) if id_ != job]
            line.insert(line.index(before) if before in line else len(line), job)
            for place, id_ in enumerate(line):
                connection.execute(update(jobs).where(jobs.c.id == id_).values(place=place, priority=priority))
            return self._get(connection, job)

    def counts(self) -> dict[str, int]:
        """Return how many jobs there are in each state."""
        with self._database.reading() as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
        return dict.fromkeys(("queued", "running", *ENDED), 0) | {row[0]: row[1] for row in rows}

    def _changed(self, job: str, condition: ColumnElement[bool], values: Mapping[str, Any]) -> Job | None:
        with self._database.writing() as connection:
            if connection.execute(update(jobs).where(condition).values(**values)).rowcount != 1:
                return None
            return self._get(connection, job)

    def _get(self, connection: Connection, job: str) -> Job:
        row = _row(connection, job)
        return _job(row, _position(connection, row))


def _largest(recipes: Sequence[Mapping[str, Any]]) -> int:
    """Return the most pixels that one of `recipes` is worked on in."""
    sizes = (size for recipe in recipes for size in (recipe, recipe.get("hires")) if size)
    return max(int(size["width"]) * int(size["height"]) for size in sizes)


def _row(connection: Connection, job: str) -> Row[Any]:
    row = connection.execute(select(jobs).where(jobs.c.id == job)).first()
    if row is None:
        raise NotFound(f"There is no job {job!r:.60}.")
    return row


def _by_key(connection: Connection, key: str) -> Row[Any] | None:
    return connection.execute(select(jobs).where(jobs.c.idempotency_key == key)).first()


def _waits(row: Row[Any]) -> None:
    if row.state != "queued":
        raise Conflict(f"The job {row.id} is {row.state}; only jobs that wait have a place in the queue.")


def _last_place(connection: Connection, priority: int) -> int:
    return connection.scalar(select(func.max(jobs.c.place)).where(jobs.c.priority == priority)) or 0


def _waiting(connection: Connection, priority: int | None = None) -> list[str]:
    query = select(jobs.c.id).where(jobs.c.state == "queued").order_by(jobs.c.priority.desc(), jobs.c.place)
    return list(connection.scalars(query if priority is None else query.where(jobs.c.priority == priority)))


def _position(connection: Connection, row: Row[Any]) -> int | None:
    if row.state != "queued":
        return None
    sooner = or_(jobs.c.priority > row.priority, and_(jobs.c.priority == row.priority, jobs.c.place < row.place))
    return connection.scalar(select(func.count()).where(jobs.c.state == "queued", sooner)) or 0


def _job(row: Row[Any], position: int | None) -> Job:
    known = {key: value for key, value in row._mapping.items() if key in Job.model_fields}
    times = {key: _moment(known[key]) for key in ("created", "started", "finished")}
    return Job.model_validate({**known, **times, "position": position})


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def alike(shared: Sequence[str]) -> str | None:
    """Return the one digest in `shared`, or None when there are several."""
    return shared[0] if len(set(shared)) == 1 else None
