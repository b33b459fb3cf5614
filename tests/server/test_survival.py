"""`kill -9`: whatever dies in the middle of a job, all jobs are done afterwards, every picture once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from impasto.pictures import metadata
from tests.server.running import PATIENCE

COUNT, STEPS = 3, 12


class Served:
    """A server in a process of its own."""

    def __init__(self, data: Path, model: str, *more: str) -> None:
        words = ["serve", "--model", model, "--data", str(data), "--port", "0", "--threads", "1", "--batch", "1", *more]
        code = "import sys; from impasto.cli import main; sys.exit(main(sys.argv[1:]))"
        self.log = data.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        self.http = httpx2.Client()

    def begin(self) -> None:
        assert self.process.stdout
        url = self.process.stdout.readline().decode().strip()
        assert url.startswith("http://127.0.0.1:"), self.log.read_text()
        self.http.close()
        self.http = httpx2.Client(base_url=url, timeout=PATIENCE)
        self.until(lambda: self.http.get("/api/ready").status_code == 200)

    def until(self, condition: Any) -> None:
        until = time.monotonic() + 2 * PATIENCE
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)

    def jobs(self) -> list[dict[str, Any]]:
        return list(self.http.get("/api/jobs", params={"limit": 200}).json()["jobs"])

    def pictures(self) -> list[dict[str, Any]]:
        return list(self.http.get("/api/pictures", params={"limit": 200}).json()["pictures"])

    def half_way(self) -> bool:
        """Whether a job is running that has one picture finished and another begun."""
        jobs = self.jobs()
        assert not [job["error"] for job in jobs if job["state"] == "failed"]
        return any(job["state"] == "running" and job["pictures"] and job["step"] < job["steps"] for job in jobs)

    def worker(self) -> int:
        started = [json.loads(line) for line in self.log.read_text().splitlines() if '"worker started"' in line]
        return int(started[-1]["pid"])

    def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        self.http.close()
        assert self.process.stdout
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.stdout.close()
        return self.process.wait(PATIENCE)


@contextmanager
def served(data: Path, model: str, *more: str) -> Iterator[Served]:
    server = Served(data, model, *more)
    try:
        server.begin()
        yield server
    finally:
        server.end()


def submit(server: Served, jobs: int) -> set[str]:
    said = [{"prompt": f"fox {k}", "count": COUNT, "steps": STEPS, "seed": 100 * k} for k in range(jobs)]
    answers = [server.http.post("/api/jobs", json=each) for each in said]
    assert {answer.status_code for answer in answers} == {202}
    return {answer.json()["id"] for answer in answers}


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_all_jobs_are_done_once_whatever_was_killed(tmp_path: Path, tiny_model: str) -> None:
    data = tmp_path / "data"
    with served(data, tiny_model) as server:
        jobs = submit(server, 2)
        server.until(server.half_way)
        os.kill(server.worker(), signal.SIGKILL)
        server.until(lambda: any(job["attempts"] == 2 for job in server.jobs()))
        server.until(server.half_way)
        before = {picture["id"]: picture for picture in server.pictures()}
        worker = server.worker()
        assert server.end() == -signal.SIGKILL
    until = time.monotonic() + PATIENCE
    while lives(worker):
        assert time.monotonic() < until, "The worker outlived its server."
        time.sleep(0.05)

    with served(data, tiny_model) as server:
        assert {job["id"] for job in server.jobs()} == jobs
        server.until(lambda: all(job["state"] == "done" for job in server.jobs()))
        after = {picture["id"]: picture for picture in server.pictures()}
        assert {id_: after[id_] for id_ in before} == before  # what was there was not made again
        made = sorted((picture["job"], picture["seed"] % 100) for picture in after.values())
        assert made == sorted((job, k) for job in jobs for k in range(COUNT))
        files = {path.stem: path for path in (data / "pictures").rglob("*") if path.is_file()}
        assert files.keys() == after.keys()
        for id_, path in files.items():
            said = metadata.read(path)
            assert said.recipe
            assert said.recipe.plain() == after[id_]["recipe"]


@pytest.mark.slow
def test_a_server_that_is_told_to_stop_stops_and_the_next_goes_on(tmp_path: Path, tiny_model: str) -> None:
    data = tmp_path / "data"
    with served(data, tiny_model, "--grace", "0") as server:
        (job,) = submit(server, 1)
        server.until(server.half_way)
        with server.http.stream("GET", "/api/events") as listening:
            server.process.send_signal(signal.SIGTERM)
            assert b"event: job" in b"".join(listening.iter_bytes())  # the subscription ends, and with it this
        assert server.process.wait(PATIENCE) == -signal.SIGTERM  # as shells expect of what a signal ended
        server.end()
    with served(data, tiny_model) as server:
        assert server.jobs()[0]["attempts"] in (0, 1)
        server.until(lambda: server.jobs()[0]["state"] == "done")
        assert (server.jobs()[0]["id"], server.jobs()[0]["attempts"]) == (job, 1)
        assert len(server.pictures()) == COUNT
