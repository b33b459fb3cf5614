"""The queue: order, leases, and that nothing is lost or made twice."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from impasto.errors import InvalidInput, NotFound
from impasto.server.database import Database, about, pictures
from impasto.server.jobs import CRASHES, ENDED, RESTARTS, Claim, Conflict, Job, JobError, NewJob, Queue, QueueFull

DIGEST = "sha256:" + "0" * 64
DIED = JobError(code="worker_died", message="It died.")


def new(count: int = 1, said: str = "a", **more: Any) -> NewJob:
    recipes = tuple({"steps": 2, "seed": k} for k in range(count))
    return NewJob(model=DIGEST, request={"prompt": said}, recipes=recipes, said=said, **more)


def submit(queue: Queue, count: int = 1, **more: Any) -> str:
    return queue.submit(new(count, **more), most=100)[0].id


def row(job: str, number: int) -> dict[str, Any]:
    size = {"width": 64, "height": 64, "bytes": 1, "format": "png", "pixels": DIGEST}
    words = {"prompt": "a fox", "negative_prompt": "", "model": "tiny", "model_digest": DIGEST, "seed": "1"}
    own = {"id": f"{job}/{number}", "job": job, "row": number, "kind": "picture", "created": time.time()}
    return {**own, **size, **words, "recipe": None, "starred": False}


def claimed(queue: Queue, batch: int = 1) -> Claim:
    claim = queue.claim(batch)
    assert claim
    return claim


def keep(queue: Queue, claim: Claim, job: str, number: int) -> Job | None:
    return queue.keep(job, claim.lease, number, row(job, number))


def line(queue: Queue) -> list[str]:
    return [job.id for job in queue.listed("queued")]


def test_jobs_come_by_priority_and_then_by_age(queue: Queue) -> None:
    first, second, urgent = submit(queue), submit(queue), submit(queue, priority=5)
    assert line(queue) == [urgent, first, second]
    assert [queue.get(job).position for job in (urgent, first, second)] == [0, 1, 2]
    assert [claimed(queue).jobs[0].id for _ in range(3)] == [urgent, first, second]
    assert queue.claim() is None


def test_a_job_moves_before_another_and_takes_its_priority(queue: Queue) -> None:
    first, second, urgent = submit(queue), submit(queue), submit(queue, priority=5)
    queue.move(second, before=first)
    assert line(queue) == [urgent, second, first]
    assert queue.move(first, before=urgent).priority == 5
    assert line(queue) == [first, urgent, second]
    queue.move(first, before=None)
    assert line(queue) == [urgent, first, second]
    queue.move(first, before=first)
    assert line(queue) == [urgent, first, second]
    queue.prioritise(urgent, -1)
    assert line(queue) == [first, second, urgent]
    claimed(queue)
    with pytest.raises(Conflict, match="running"):
        queue.move(second, before=first)
    with pytest.raises(Conflict, match="running"):
        queue.prioritise(first, 3)


def test_a_picture_is_kept_once_in_order_and_by_the_holder_of_the_lease(queue: Queue) -> None:
    job = submit(queue, 2)
    claim = claimed(queue)
    assert keep(queue, claim, job, 1) is None
    assert keep(queue, Claim("other", claim.jobs), job, 0) is None
    kept = keep(queue, claim, job, 0)
    assert kept is not None
    assert (kept.state, kept.made) == ("running", 1)
    assert keep(queue, claim, job, 0) is None
    done = keep(queue, claim, job, 1)
    assert done is not None
    assert (done.state, done.made) == ("done", 2)
    assert done.finished is not None
    assert keep(queue, claim, job, 2) is None


def test_what_was_cancelled_keeps_what_it_has_and_takes_no_more(queue: Queue) -> None:
    job = submit(queue, 2)
    claim = claimed(queue)
    keep(queue, claim, job, 0)
    assert queue.cancel(job).state == "cancelled"
    assert keep(queue, claim, job, 1) is None
    assert queue.fail(job, claim.lease, DIED) is None
    assert queue.give_back(claim.lease, DIED, 1) == []
    assert queue.cancel(job).state == "cancelled"
    again = queue.retry(job)
    assert (again.state, again.made, again.attempts) == ("queued", 1, 0)
    done = keep(queue, claimed(queue), job, 1)
    assert done is not None
    assert done.state == "done"
    with pytest.raises(Conflict, match="done"):
        queue.cancel(job)
    with pytest.raises(Conflict, match="done"):
        queue.retry(job)


def test_a_job_that_kills_its_worker_is_given_up(queue: Queue) -> None:
    job = submit(queue)
    for attempt in range(1, CRASHES + 1):
        claim = claimed(queue)
        (back,) = queue.give_back(claim.lease, DIED, CRASHES)
        assert (back.state, back.attempts) == ("failed" if attempt == CRASHES else "queued", attempt)
    assert queue.get(job).error == DIED
    assert queue.claim() is None


def test_a_stopped_server_gives_back_without_counting(queue: Queue) -> None:
    job = submit(queue)
    for _ in range(2 * RESTARTS):
        queue.give_back(claimed(queue).lease)
    assert (queue.get(job).state, queue.get(job).attempts) == ("queued", 0)


def test_a_server_that_dies_leaves_its_jobs_to_the_next_one(queue: Queue) -> None:
    running, waiting = submit(queue, 2), submit(queue)
    claim = claimed(queue)
    keep(queue, claim, running, 0)
    (job,) = queue.recover()
    assert (job.id, job.state, job.made) == (running, "queued", 1)
    assert line(queue) == [running, waiting]
    assert keep(queue, claim, running, 1) is None
    for _ in range(RESTARTS - 1):
        claimed(queue)
        queue.recover()
    error = queue.get(running).error
    assert error is not None
    assert error.code == "server_died"


def test_alike_jobs_are_taken_together(queue: Queue) -> None:
    jobs = [submit(queue, alike="x") for _ in range(3)]
    other, more = submit(queue, alike="y"), submit(queue, 5, alike="x")
    assert [job.id for job in claimed(queue, 4).jobs] == [*jobs, more]
    assert [job.id for job in claimed(queue, 4).jobs] == [other]


def test_large_pictures_are_made_by_themselves(queue: Queue) -> None:
    for _ in range(3):
        recipes = ({"width": 64, "height": 64, "hires": {"width": 128, "height": 128}},)
        queue.submit(new(alike="x").model_copy(update={"recipes": recipes}), most=9)
    pair, single = queue.claim(4, 2 * 128 * 128), queue.claim(4, 128 * 128 - 1)
    assert pair
    assert single
    assert (len(pair.jobs), len(single.jobs)) == (2, 1)


def test_what_was_begun_before_is_made_alone(queue: Queue) -> None:
    first, second = submit(queue, alike="x"), submit(queue, alike="x")
    claim = claimed(queue, 4)
    assert len(claim.jobs) == 2
    queue.give_back(claim.lease, DIED, CRASHES)
    assert [job.id for job in claimed(queue, 4).jobs] == [first]
    third = submit(queue, alike="x")
    assert [job.id for job in claimed(queue, 4).jobs] == [second]
    assert [job.id for job in claimed(queue, 4).jobs] == [third]


def test_an_idempotency_key_is_one_job(queue: Queue) -> None:
    job, fresh = queue.submit(new(idempotency_key="k"), most=1)
    same, again = queue.submit(new(idempotency_key="k"), most=1)
    assert (job.id, fresh, again) == (same.id, True, False)
    with pytest.raises(Conflict, match="Idempotency-Key"):
        queue.submit(new(said="b", idempotency_key="k"), most=1)


def test_a_full_queue_takes_no_more(queue: Queue) -> None:
    queue.submit(new(), most=1)
    with pytest.raises(QueueFull, match="1 jobs wait"):
        queue.submit(new(), most=1)
    claimed(queue)
    queue.submit(new(), most=1)


def test_jobs_are_listed_newest_first_in_pages(queue: Queue) -> None:
    jobs = [submit(queue) for _ in range(5)]
    claimed(queue)
    page = queue.listed(limit=2)
    assert [job.id for job in page] == [jobs[4], jobs[3]]
    assert [job.id for job in queue.listed(limit=9, before=page[-1].id)] == [jobs[2], jobs[1], jobs[0]]
    assert [job.id for job in queue.listed("running")] == [jobs[0]]
    assert [job.position for job in queue.listed("queued")] == [0, 1, 2, 3]
    assert queue.counts() == {"queued": 4, "running": 1, "done": 0, "failed": 0, "cancelled": 0}
    with pytest.raises(NotFound, match="no job"):
        queue.listed(before="j" + "0" * 20)


def test_many_threads_take_each_job_once(queue: Queue) -> None:
    jobs = {submit(queue) for _ in range(24)}
    taken: list[str] = []

    def take() -> None:
        while claim := queue.claim():
            taken.extend(job.id for job in claim.jobs)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(jobs)


def test_another_versions_database_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.sqlite"
    database = Database(url)
    with database.writing() as connection:
        connection.execute(about.update().values(value="99"))
    database.close()
    with pytest.raises(InvalidInput, match="layout 99"):
        Database(url)


@pytest.mark.parametrize("url", ["nothing", "sqlite:////no/such/folder/x.sqlite", "oracle+nodriver://x"])
def test_a_url_that_leads_nowhere(url: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be opened"):
        Database(url)


class Life(RuleBasedStateMachine):
    """Whatever happens to a queue, in whatever order: each picture is kept once, and no job is lost."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[Claim] = []
        self.totals: dict[str, int] = {}

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(f"sqlite:///{self.folder.name}/life.sqlite")
        self.queue = Queue(self.database)

    @rule(target=ids, count=st.integers(1, 3), priority=st.integers(-1, 1), alike=st.sampled_from([None, "x", "y"]))
    def submit(self, count: int, priority: int, alike: str | None) -> str:
        job = submit(self.queue, count, priority=priority, alike=alike)
        self.totals[job] = count
        return job

    @rule(batch=st.integers(1, 4))
    def claim(self, batch: int) -> None:
        if claim := self.queue.claim(batch):
            self.claims.append(claim)

    @rule(data=st.data())
    def keep(self, data: st.DataObject) -> None:
        if self.claims:
            claim = data.draw(st.sampled_from(self.claims))
            job = data.draw(st.sampled_from(claim.jobs)).id
            keep(self.queue, claim, job, data.draw(st.integers(0, self.totals[job] - 1)))

    @rule(data=st.data(), counts=st.booleans())
    def die(self, data: st.DataObject, counts: bool) -> None:
        if self.claims:
            claim = data.draw(st.sampled_from(self.claims))
            self.queue.give_back(claim.lease, DIED, CRASHES if counts else None)

    @rule()
    def restart(self) -> None:
        self.queue.recover()

    @rule(job=ids)
    def cancel(self, job: str) -> None:
        if self.queue.get(job).state in ("queued", "running", "cancelled"):
            assert self.queue.cancel(job).state == "cancelled"

    @rule(job=ids)
    def retry(self, job: str) -> None:
        if self.queue.get(job).state in ("failed", "cancelled"):
            self.queue.retry(job)

    @rule(job=ids, other=ids)
    def move(self, job: str, other: str) -> None:
        if {self.queue.get(each).state for each in (job, other)} == {"queued"}:
            self.queue.move(job, before=other)

    @invariant()
    def nothing_is_lost_or_twice(self) -> None:
        if not hasattr(self, "queue"):
            return
        found = {job.id: job for job in self.queue.listed(limit=10_000)}
        assert found.keys() == self.totals.keys()
        with self.database.reading() as connection:
            kept = [(row.job, row.row) for row in connection.execute(select(pictures).order_by(pictures.c.number))]
        assert len(kept) == len(set(kept))
        for id_, job in found.items():
            assert [number for of, number in kept if of == id_] == list(range(job.made))
            assert (job.made == job.total) == (job.state == "done")
            assert (job.finished is not None) == (job.state in ENDED)
        assert [job.position for job in self.queue.listed("queued", limit=10_000)] == list(
            range(self.queue.counts()["queued"])
        )

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            self.folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=12, stateful_step_count=25)
