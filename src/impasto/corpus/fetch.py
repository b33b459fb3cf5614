"""Fetches the images of a url table: politely, and so that a kill loses nothing that was fetched."""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from pydantic import Field

from impasto.corpus import dedup
from impasto.corpus.fetched import Fetched, Head, Journal
from impasto.corpus.sources.table import listed
from impasto.corpus.visit import Listed, Visit, Visitor, picture
from impasto.corpus.web import LONGEST_DELAY, Manners, Web
from impasto.schema import Frozen, file_digest


class Settings(Frozen):
    """How a table is fetched.

    Attributes:
        manners: towards sites.
        threads: requests at once, over all hosts.
        shard: rows of a shard.
        bits: of 128, up to which perceptual hashes count as near.
        difference: largest mean difference of colour in the worst tile of two near images that count as one, 0 to 255.
        runs: in how many runs a row is tried whose failure may pass, or that was refused since a site's rules could not
            be had.
        again: whether to try every row once more that failed in an earlier run, however often and why.
    """

    manners: Manners
    threads: int = Field(default=32, ge=1, le=512)
    shard: int = Field(default=1000, ge=1, le=100_000)
    bits: int = Field(default=8, ge=0, le=128)
    difference: float = Field(default=8.0, ge=0, le=255)
    runs: int = Field(default=3, ge=1, le=100)
    again: bool = False

    def leaves(self, visit: Visit) -> bool:
        """Return whether a `visit` of an earlier run is over for good."""
        failed = visit.status == "failed" or visit.passing
        return not failed or not (self.again or (visit.passing and visit.runs < self.runs))


@dataclass
class Progress:
    """How far a fetch is.

    Attributes:
        done: rows of the table that are over with, those of earlier runs included.
        statuses: how many rows have which status.
    """

    done: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


def fetch(table: Path, output: Path, settings: Settings) -> Iterator[Progress]:
    """Fetch the images of `table` to the folder `output`; the caller drives, and sees how far it is.

    What an earlier run has fetched there is not asked for again; what failed as far as the settings say. Of a row that
    is tried again, what came of it before stays with it.

    Raises:
        InvalidInput: the table is none, or `output` holds something else.
    """
    head = Head(table=file_digest(table), agent=settings.manners.agent, shard=settings.shard)
    fetched = Fetched.begin(output, head)
    web = Web(settings.manners, settings.threads)
    hashes = _Hashes(fetched, settings)
    over = _over(fetched, hashes, settings)
    progress = Progress()
    rows = iter(listed(table))
    number = 0
    while shard := list(islice(rows, settings.shard)):
        if number in over:
            _count(progress, over[number])
            yield progress
        else:
            yield from _shard(number, shard, fetched, web, hashes, settings, progress)
        number += 1


def _over(fetched: Fetched, hashes: _Hashes, settings: Settings) -> dict[int, list[str]]:
    """Take the rows that are to be tried again out of the shards, and return the statuses in those that stay whole."""
    over: dict[int, list[str]] = {}
    for number in filter(fetched.has, fetched.shards):
        visits = fetched.visits(number)
        hashes.add(visits)
        if all(map(settings.leaves, visits)):
            over[number] = [visit.status for visit in visits]
        else:
            fetched.reopen(number, settings.leaves)
    return over


def _count(progress: Progress, statuses: Iterable[str]) -> None:
    for status in statuses:
        progress.done += 1
        progress.statuses[status] += 1


def _shard(
    number: int,
    rows: Sequence[Listed],
    fetched: Fetched,
    web: Web,
    hashes: _Hashes,
    settings: Settings,
    progress: Progress,
) -> Iterator[Progress]:
    with closing(fetched.journal(number)) as journal:
        _count(progress, (visit.status for visit in journal.visits.values()))
        waiting = [row for row in rows if row.place not in journal.visits]
        before = fetched.before(number)

        def keep(visit: Visit, image: bytes) -> None:
            journal.add(visit.after(before.get(visit.listed.place)), image)

        with closing(visited(waiting, web, settings.threads, keep)) as ended:  # before the journal is
            for visit in ended:
                _count(progress, [visit.status])
                yield progress
        visits = hashes.without_repeats([journal.visits[row.place] for row in rows], journal)
        repeats = sum(visit.status == "duplicate" for visit in visits)
        progress.statuses.update(duplicate=repeats, fetched=-repeats)
        images = ((v.listed.key, journal.image(v.listed.place)) for v in visits if v.status == "fetched")
        fetched.close(number, visits, images)
        yield progress


def visited(
    rows: Sequence[Listed], web: Web, threads: int, keep: Callable[[Visit, bytes], None]
) -> Generator[Visit, None, None]:
    """Visit `rows`, several at once, and yield what came of each as it ends.

    A thread hands what came to `keep`, one at a time, before it asks for more: however slow who looks on is, a kill
    costs at most one request a thread.

    An error that is nobody's answer (the network is forbidden, a defect) ends it.
    """
    turns = _Turns(rows, web)
    done: queue.Queue[Visit | BaseException] = queue.Queue()
    one_by_one = threading.Lock()

    def ended(visit: Visit, image: bytes) -> None:
        with one_by_one:
            keep(visit, image)
        done.put(visit)

    workers = [
        threading.Thread(target=_work, args=(turns, web, ended, done.put), daemon=True)
        for _ in range(min(threads, len(rows)))
    ]
    for worker in workers:
        worker.start()
    try:
        for _ in rows:
            came = done.get()
            if isinstance(came, BaseException):
                raise came
            yield came
    finally:
        turns.stop()
        for worker in workers:
            worker.join()


def _work(
    turns: _Turns, web: Web, ended: Callable[[Visit, bytes], None], failed: Callable[[BaseException], None]
) -> None:
    while (row := turns.take()) is not None:
        visitor = Visitor(web, row)
        try:
            visit, image = visitor.visit()
            if not (visit.passing and turns.again(row, visitor.wait)):
                ended(visit, image)
        except BaseException as error:
            failed(error)
        finally:
            turns.give_back(row)


class _Turns:
    """Whose turn it is: hosts one after the other, none with more requests at once or sooner than manners allow."""

    def __init__(self, rows: Iterable[Listed], web: Web) -> None:
        self._web, self._changed = web, threading.Condition()
        self._waiting: dict[str, deque[Listed]] = {}
        for row in rows:
            self._waiting.setdefault(_host(row.url), deque()).append(row)
        self._busy: Counter[str] = Counter()
        self._next: dict[str, float] = {}
        self._tried: Counter[int] = Counter()
        self._later: list[tuple[float, int, Listed]] = []  # a heap: when a row may be tried again
        self._stopped = False

    def take(self) -> Listed | None:
        """Return the next row, once it may be asked for; None when there is none left."""
        with self._changed:
            while (self._waiting or self._later) and not self._stopped:
                now = time.monotonic()
                self._bring_back(now)
                ready = next((host for host in self._waiting if self._may(host, now)), None)
                if ready is not None:
                    return self._give(ready, now)
                self._changed.wait(self._pause(now))
            return None

    def give_back(self, row: Listed) -> None:
        """Note that the visit of `row` is over."""
        with self._changed:
            self._busy[_host(row.url)] -= 1
            self._changed.notify()

    def again(self, row: Listed, wait: float) -> bool:
        """Give out `row` once more after a while, at least `wait` seconds; return False when it was tried enough."""
        manners = self._web.manners
        with self._changed:
            self._tried[row.place] += 1
            tried = self._tried[row.place]
            if tried >= manners.tries or self._stopped:
                return False
            pause = max(wait, min(manners.pause * 2 ** (tried - 1), LONGEST_DELAY))
            heapq.heappush(self._later, (time.monotonic() + pause, row.place, row))
            return True

    def _bring_back(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, _, row = heapq.heappop(self._later)
            self._waiting.setdefault(_host(row.url), deque()).append(row)

    def stop(self) -> None:
        """Give out no more rows."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _may(self, host: str, now: float) -> bool:
        return self._busy[host] < self._web.manners.per_host and self._next.get(host, 0.0) <= now

    def _give(self, host: str, now: float) -> Listed:
        rows = self._waiting.pop(host)
        row = rows.popleft()
        if rows:
            self._waiting[host] = rows  # to the end of the line: every host has its turn
        self._busy[host] += 1
        self._next[host] = now + self._web.delay(row.url)
        return row

    def _pause(self, now: float) -> float | None:
        free = [self._next.get(h, 0.0) - now for h in self._waiting if self._busy[h] < self._web.manners.per_host]
        free += [at - now for at, _, _ in self._later[:1]]
        return max(min(free), 0.001) if free else None


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


class _Hashes:
    """Perceptual hashes of all that was fetched, to tell repeats by."""

    def __init__(self, fetched: Fetched, settings: Settings) -> None:
        self._fetched, self._settings = fetched, settings
        self._keys: list[str] = []
        self._known: set[str] = set()
        self._hashes: npt.NDArray[np.uint8] = np.empty((1024, 16), np.uint8)  # of which the first len(keys) are used

    def add(self, visits: Iterable[Visit]) -> None:
        """Note the images of `visits`."""
        for visit in visits:
            if visit.status == "fetched" and visit.found and visit.listed.key not in self._known:
                if len(self._keys) == len(self._hashes):
                    self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
                self._hashes[len(self._keys)] = _bytes(visit.found.phash)
                self._keys.append(visit.listed.key)
                self._known.add(visit.listed.key)

    def without_repeats(self, visits: Sequence[Visit], journal: Journal) -> list[Visit]:
        """Return `visits`, those that repeat an earlier image marked as duplicates of it; the others are noted."""
        kept = []
        for visit in visits:
            first = self._first(visit, journal) if visit.status == "fetched" else None
            changes = {"status": "duplicate", "duplicate_of": first, "reason": f"Repeats the image of row {first}."}
            kept.append(visit.model_copy(update=changes) if first else visit)
            self.add(kept[-1:])
        return kept

    def _first(self, visit: Visit, journal: Journal) -> str | None:
        if visit.found is None or visit.listed.key in self._known:
            return None
        apart = np.unpackbits(self._hashes[: len(self._keys)] ^ _bytes(visit.found.phash), axis=1).sum(axis=1)  # (N,)
        for place in np.nonzero(apart <= self._settings.bits)[0].tolist():
            if self._alike(self._keys[place], visit, journal):
                return self._keys[place]
        return None

    def _alike(self, earlier: str, visit: Visit, journal: Journal) -> bool:
        place = int(earlier)
        there = journal.image(place) if place in journal.visits else self._fetched.image(earlier)
        here = journal.image(visit.listed.place)
        prints = [dedup.fingerprint(picture(data)) for data in (there, here)]
        return there == here or dedup.worst_tile(*prints) <= self._settings.difference


def _bytes(phash: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(phash), np.uint8)
