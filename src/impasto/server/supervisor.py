"""Whoever sees to it that what is in the queue gets made: gives it to the worker, and replaces a worker that died."""

from __future__ import annotations

import base64
import json
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from impasto.errors import NotFound
from impasto.recipe import Recipe
from impasto.server import worker
from impasto.server.jobs import CRASHES, Claim, Job, JobError, Queue
from impasto.server.metrics import Metrics
from impasto.server.models import Offered, Shelf
from impasto.server.pictures import Library
from impasto.server.places import picture_id
from impasto.server.requests import shared

log = logging.getLogger(__name__)

TICK = 0.25
PAUSE = 1.0
LAST_WORDS = 2.0
"""Seconds that a worker has to end by itself."""


@dataclass
class Live:
    """How far a running job is; gone when the server is.

    Attributes:
        started: by the monotonic clock, when its first step in this attempt was done: until then a model may be loaded,
            which says nothing of the pace.
        before: how far it was then, 0 to 1.
        progress: how far it is, 0 to 1.
        done: pictures and sheets that are finished.
        step: of the pictures being made.
        steps: of those pictures.
        preview: of one of them, JPEG.
        previews: how many there were.
    """

    started: float
    before: float
    progress: float
    done: int = 0
    step: int = 0
    steps: int = 0
    preview: bytes | None = None
    previews: int = 0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds that are left at this pace; None before there is a pace."""
        gone = self.progress - self.before
        if gone <= 0:
            return None
        return (time.monotonic() - self.started) / gone * (1 - self.progress)


@dataclass
class Supervisor:
    """A thread between the queue and a worker process.

    Attributes:
        queue: where jobs come from.
        library: where pictures go.
        shelf: where models are.
        setup: of the worker.
        batch: pictures to make at a time at most.
        batch_pixels: that those have together at most.
        changed: called when a job has changed.
        kept: called when a picture has come into the library.
        beat: called several times a second.
        metrics: to count in.
    """

    queue: Queue
    library: Library
    shelf: Shelf
    setup: worker.Setup
    batch: int
    batch_pixels: int
    changed: Callable[[str], None]
    kept: Callable[[str], None]
    beat: Callable[[], None]
    metrics: Metrics
    live: dict[str, Live] = field(default_factory=dict)
    ready: bool = False
    loaded: str | None = None
    _claim: Claim | None = None
    _process: BaseProcess | None = None
    _connection: Connection | None = None
    _bell: threading.Event = field(default_factory=threading.Event)
    _until: float | None = None
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; jobs that ran when an earlier server ended come back first."""
        for job in self.queue.recover():
            log.warning("job recovered", extra={"job": job.id, "state": job.state, "attempts": job.attempts})
        self.library.sweep()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self, grace: float) -> None:
        """End: what runs may finish within `grace` seconds, or goes back to the queue."""
        self._until = time.monotonic() + grace
        self._bell.set()
        if self._thread:
            self._thread.join(grace + LAST_WORDS + 5)
        self._end_worker()

    def ring(self) -> None:
        """Say that there is a new job."""
        self._bell.set()

    def cancel(self, job: str) -> None:
        """Tell the worker that `job` was cancelled, if it is being made."""
        self.live.pop(job, None)
        claim = self._claim
        if claim and any(job == claimed.id for claimed in claim.jobs):
            self._send({"do": "cancel", "job": job, "lease": claim.lease})

    @property
    def pid(self) -> int | None:
        """Process id of the worker."""
        return self._process.pid if self._process else None

    def _run(self) -> None:
        while self._until is None:
            try:
                self._turn()
            except Exception:  # whatever it is, the queue has to go on
                log.exception("supervisor failed")
                time.sleep(1)

    def _turn(self) -> None:
        self.beat()
        if self._process and not self._process.is_alive():
            self._died(None)
        if self._process is None:
            self._start_worker()
        self._bell.clear()
        claim = self.queue.claim(self.batch, self.batch_pixels) if self.ready else None
        if claim:
            self._oversee(claim)
        elif self.ready:
            self._wait_for_work()
        else:
            self._hear(None)

    def _wait_for_work(self) -> None:
        """Wait for the bell, and hear what an idle worker says meanwhile, as that a model is loaded."""
        self._bell.wait(TICK)
        if self._connection and self._connection.poll():
            self._hear(None)

    def _start_worker(self) -> None:
        self._end_worker()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        setup = self.setup.model_dump(mode="json")
        process = context.Process(target=worker.run, args=(theirs, setup), name="impasto worker", daemon=True)
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        self.metrics.workers.inc()
        log.info("worker started", extra={"pid": process.pid})
        default = self.shelf.default
        self._send({"do": "load", "model": {"identity": default.info.digest, "path": str(default.path)}})

    def _end_worker(self) -> None:
        self.ready, self.loaded = False, None
        if self._connection:
            self._connection.close()
        if self._process:
            self._process.join(LAST_WORDS)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._process = self._connection = None

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        with self._sending:
            try:
                if self._connection:
                    self._connection.send_bytes(data)
            except OSError:
                log.warning("worker does not listen")

    def _oversee(self, claim: Claim) -> None:
        """Have the jobs of `claim` made, whatever happens to the worker."""
        self._claim = claim
        try:
            for job in claim.jobs:
                share = job.made / job.total
                self.live[job.id] = Live(time.monotonic(), share, share, job.made)
                self.changed(job.id)
            if self._hand_over(claim):
                while self._hear(claim):
                    self.beat()
                    if self._until is not None and time.monotonic() > self._until:
                        self._end_worker()
                        self._tell(self.queue.give_back(claim.lease))
                        return
        finally:
            self._claim = None
            for job in claim.jobs:
                self.live.pop(job.id, None)
            # Whatever way this ended, nothing stays behind that looks as if it were being made.
            self._tell(self.queue.give_back(claim.lease, _WORKER_LEFT, CRASHES))

    def _hand_over(self, claim: Claim) -> bool:
        """Send the task to the worker; return False when there is nothing to send."""
        items: list[worker.Item] = []
        for job in claim.jobs:
            try:
                items += self._items(job)
            except NotFound as error:
                self._failed(job.id, claim.lease, JobError(code="not_found", message=str(error)))
        if not items:
            return False
        try:
            model = self.shelf.by_digest(claim.jobs[0].model)
        except NotFound as error:
            for job in claim.jobs:
                self._failed(job.id, claim.lease, JobError(code="not_found", message=str(error)))
            return False
        task = worker.Task(lease=claim.lease, model=_place(model), batch=claim.batch, items=tuple(items))
        self._send({"do": "make", "task": task.model_dump(mode="json")})
        return True

    def _items(self, job: Job) -> list[worker.Item]:
        sources = tuple(self.library.source(id_)[0] for id_ in job.sources)
        pictures = [
            worker.Item(
                job=job.id,
                number=number,
                recipe=recipe,
                alike=shared(Recipe.model_validate(recipe)),
                sources=sources,
                edited=job.kind == "upscale",
                second=self._second(recipe),
            )
            for number, recipe in enumerate(job.recipes)
        ]
        sheets = [
            worker.Item(job=job.id, number=len(pictures) + number, sheet=sheet)
            for number, sheet in enumerate(job.sheets)
        ]
        return [*pictures, *sheets][job.made :]

    def _second(self, recipe: dict[str, Any]) -> worker.ModelPlace | None:
        """Return where the model is that makes the second pass of `recipe`, if it is another one."""
        used = (recipe.get("hires") or {}).get("model")
        return _place(self.shelf.by_digest(used["identity"])) if used else None

    def _hear(self, claim: Claim | None) -> bool:
        """Listen for a moment; return whether there is more to come of `claim`."""
        if self._connection is None or self._process is None:
            return False
        wait([self._connection, self._process.sentinel], TICK)
        try:
            while self._connection.poll():
                message = json.loads(self._connection.recv_bytes())
                if self._heard(message, claim):
                    return False
        except (EOFError, OSError):
            self._died(claim)
            return False
        if not self._process.is_alive():
            self._died(claim)
            return False
        return True

    def _died(self, claim: Claim | None) -> None:
        assert self._process
        self._process.join(LAST_WORDS)
        why = _why(self._process.exitcode)
        log.error("worker died", extra={"pid": self._process.pid, "reason": why})
        self.metrics.deaths.inc()
        if not self.ready:
            time.sleep(PAUSE)  # one that cannot even begin will not do so sooner for being tried at once
        self._end_worker()
        if claim:
            self._tell(self.queue.give_back(claim.lease, JobError(code="worker_died", message=why), CRASHES))

    def _heard(self, message: dict[str, Any], claim: Claim | None) -> bool:
        """Act on what the worker said; return whether the task is finished."""
        said = message["said"]
        if said == "ready":
            self.ready = True
        elif said == "loaded":
            self.loaded = message["digest"]
            self.metrics.loading.observe(message["seconds"])
            log.info("model loaded", extra={"digest": message["digest"], "seconds": round(message["seconds"], 3)})
        elif said == "loading":
            self.loaded = None
        elif claim and message.get("lease") == claim.lease:
            if said == "finished":
                return True
            self._heard_of_job(said, message)
        elif said == "unsigned":
            log.warning("picture not signed", extra={"job": message["job"], "reason": message["reason"]})
        return False

    def _heard_of_job(self, said: str, message: dict[str, Any]) -> None:
        if said == "step":
            self._stepped(message)
        elif said == "preview":
            self._previewed(message)
        elif said == "made":
            self._made(message)
        elif said == "failed":
            self._gave_up(message)

    def _stepped(self, message: dict[str, Any]) -> None:
        self.metrics.steps.inc()
        totals = {job.id: job.total for job in self._claim.jobs} if self._claim else {}
        for job, pictures in message["jobs"].items():
            if (live := self.live.get(job)) and job in totals:
                first = not live.steps
                live.step, live.steps = message["step"], message["steps"]
                live.progress = min(1.0, (live.done + pictures * live.step / live.steps) / totals[job])
                if first:
                    live.started, live.before = time.monotonic(), live.progress
                self.changed(job)

    def _previewed(self, message: dict[str, Any]) -> None:
        if live := self.live.get(message["job"]):
            live.preview = base64.b64decode(message["jpeg"])
            live.previews += 1
            self.changed(message["job"])

    def _made(self, message: dict[str, Any]) -> None:
        picture = self._row_of(message)
        job = self.queue.keep(message["job"], message["lease"], message["number"], picture)
        if job is None:
            return
        if live := self.live.get(job.id):
            live.done = job.made
        self.metrics.pictures.inc()
        self.kept(picture["id"])
        self._tell([job])

    def _row_of(self, message: dict[str, Any]) -> dict[str, Any]:
        job = self.queue.get(message["job"])
        recipe = message["recipe"]
        told = recipe or {**job.recipes[0], "seed": None}
        return {
            "id": picture_id(job.id, message["number"]),
            "job": job.id,
            "row": message["number"],
            "kind": "picture" if recipe else "sheet",
            "created": time.time(),
            **{key: message[key] for key in ("width", "height", "bytes", "pixels")},
            "format": "png",
            "seed": None if told["seed"] is None else str(told["seed"]),
            "prompt": told["prompt"],
            "negative_prompt": told["negative_prompt"],
            "model": told["model_name"],
            "model_digest": told["model_digest"],
            "recipe": recipe,
            "starred": False,
        }

    def _gave_up(self, message: dict[str, Any]) -> None:
        if message["details"]:
            log.error("generation failed", extra={"job": message["job"], "traceback": message["details"]})
        error = JobError(code=message["code"], message=message["message"])
        self._failed(message["job"], message["lease"], error)

    def _failed(self, job: str, lease: str, error: JobError) -> None:
        failed = self.queue.fail(job, lease, error)
        self._tell([failed] if failed else [])

    def _tell(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.ended:
                self.metrics.ended(job)
                self.live.pop(job.id, None)
            self.changed(job.id)


def _place(model: Offered) -> worker.ModelPlace:
    return worker.ModelPlace(identity=model.info.digest, path=model.path)


_WORKER_LEFT = JobError(code="worker_died", message="The worker ended without finishing this.")


def _why(code: int | None) -> str:
    if code == -9:
        return "The worker was killed (signal 9), as happens when memory runs out."
    if code is not None and code < 0:
        return f"The worker was ended by signal {-code}."
    return f"The worker ended by itself (exit code {code})."
