"""The web, asked politely: an honest user agent, sites asked first for their own rules, nothing of private networks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from pydantic import Field

import impasto
from impasto.corpus import addresses
from impasto.corpus.signals import ai_txt, groups, robots_txt, tdmrep
from impasto.corpus.signals.agents import TOKEN
from impasto.corpus.signals.reading import Reading
from impasto.errors import InvalidInput
from impasto.schema import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

HOPS = 5  # redirects that are followed
FILE_SIZE = groups.SIZE  # bytes of a site's own files that are read
KEPT = 24 * 3600.0  # seconds after which a site's files are asked for again (RFC 9309, 2.4)
LONGEST_DELAY = 60.0  # seconds that a site may make us wait between two requests
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes of what may be otherwise in a while."""


class Manners(Frozen):
    """How the web is asked.

    Attributes:
        contact: an address or page where a site can complain of us; it is in the user agent.
        per_host: requests to a host at once.
        delay: seconds between two requests to a host; its robots.txt may ask for more.
        timeout: seconds that a request may take in all.
        tries: how often a row is tried whose failure may pass: a time-out, no connection, status 429 or 5xx.
        pause: seconds before it is tried again, twice as long each time; a site's Retry-After may ask for more.
        max_bytes: size from which an image is left.
        private: whether addresses of private networks and of this machine may be asked; a table that somebody else
            wrote could otherwise ask what only this machine can reach.
    """

    contact: str
    per_host: int = 2
    delay: float = 0.2
    timeout: float = 20.0
    tries: int = Field(default=3, ge=1, le=10)
    pause: float = Field(default=2.0, ge=0)
    max_bytes: int = 64 << 20
    private: bool = False

    @property
    def agent(self) -> str:
        """The user agent."""
        return f"{TOKEN}/{impasto.__version__} (gathers training images, honours reservations; +{self.contact})"


class Unreachable(Exception):
    """A url that could not be had, and why.

    Attributes:
        passing: whether it may be had in a while.
        wait: seconds that the site asks to wait until then.
    """

    def __init__(self, words: str, *, passing: bool = False, wait: float = 0.0) -> None:
        super().__init__(words)
        self.passing, self.wait = passing, wait


@dataclass
class Answer:
    """A response whose body has not been read yet."""

    url: str
    status: int
    response: Any

    def lines(self, name: str) -> list[str]:
        """Return the lines of the header `name`, each on its own."""
        return list(self.response.headers.getlist(name))

    @property
    def wait(self) -> float:
        """Seconds that it asks to wait before it is asked again (Retry-After, where that is a number)."""
        asked = str(self.response.headers.get("Retry-After", ""))
        return min(float(asked), LONGEST_DELAY) if asked.isascii() and asked.isdecimal() else 0.0

    @property
    def redirect(self) -> str | None:
        """Where it leads on to."""
        location = self.response.headers.get("Location")
        return urljoin(self.url, location) if self.status in (301, 302, 303, 307, 308) and location else None


@dataclass
class Site:
    """What a site says of itself: its files, fetched once.

    Attributes:
        robots: its robots.txt, or what it means that it cannot be had.
        ai: its ai.txt, None when there is none; a Reading when it cannot be had.
        tdm: its tdmrep.json, likewise.
        passing: whether one of them could not be had for a reason that may pass.
        looks: how often they were asked for.
    """

    robots: robots_txt.Robots | Reading
    ai: str | Reading | None
    tdm: str | Reading | None
    passing: bool = False
    looks: int = 1
    since: float = field(default_factory=time.monotonic)

    def crawl(self, url: str) -> Reading:
        """Return whether its robots.txt lets us ask for `url`."""
        return self.robots if isinstance(self.robots, Reading) else self.robots.crawl(url)

    def readings(self, url: str) -> dict[str, Reading]:
        """Return what the site says of training on what is at `url`, by kind."""
        usage = self.robots if isinstance(self.robots, Reading) else self.robots.usage(url)
        use = self.ai if isinstance(self.ai, Reading) else ai_txt.read(self.ai, url)
        return {"robots.txt": self.crawl(url), "robots.txt Content-Usage": usage, "ai.txt": use}

    @property
    def delay(self) -> float:
        """Seconds that its robots.txt asks to leave between requests."""
        asked = None if isinstance(self.robots, Reading) else self.robots.delay()
        return min(asked or 0.0, LONGEST_DELAY)


class Web:
    """The web, as one gathering sees it; used by several threads at once."""

    def __init__(self, manners: Manners, connections: int = 32) -> None:
        """Ask with `manners`, over at most that many `connections` to a host."""
        self.manners = manners
        self._pool = addresses.pools(connections, private=manners.private)
        self._sites: dict[str, Site] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    @contextmanager
    def ask(self, url: str, accept: str = "*/*") -> Iterator[Answer]:
        """Ask for `url`; redirects are not followed, and the body is read by `body`.

        Raises:
            Unreachable: there is no answer, or it would come from a private network.
        """
        import urllib3

        timeout = urllib3.Timeout(connect=self.manners.timeout, read=self.manners.timeout)
        headers: Mapping[str, str] = {"User-Agent": self.manners.agent, "Accept": accept, "Accept-Encoding": "identity"}
        try:
            response = self._pool.request(
                "GET", url, headers=headers, redirect=False, preload_content=False, timeout=timeout
            )
        except addresses.Closed as error:
            raise Unreachable(str(error), passing=error.passing) from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            lasting = isinstance(error, urllib3.exceptions.SSLError | ValueError)
            raise Unreachable(f"{type(error).__name__}: {error}"[:300], passing=not lasting) from error
        try:
            yield Answer(url, response.status, response)
        finally:
            response.close()  # of one that was read to its end the connection has gone back already

    def body(self, answer: Answer, limit: int) -> bytes:
        """Return the body of `answer`.

        Raises:
            Unreachable: it is longer than `limit` bytes, takes too long, or breaks off.
        """
        import urllib3

        pieces, size, until = [], 0, time.monotonic() + self.manners.timeout
        try:
            for piece in answer.response.stream(1 << 16, decode_content=True):
                size += len(piece)
                if size > limit:
                    raise Unreachable(f"more than {limit:,} bytes")
                if time.monotonic() > until:
                    raise Unreachable(f"not here after {self.manners.timeout:g} seconds", passing=True)
                pieces.append(piece)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"broke off: {error}"[:300], passing=True) from error
        return b"".join(pieces)

    def site(self, url: str) -> Site:
        """Return the site of `url`, whose files are asked for when it is seen first.

        Raises:
            Unreachable: it is in a private network, or has no address.
        """
        origin = origin_of(url)
        with self._guard:
            lock = self._locks.setdefault(origin, threading.Lock())
        with lock:
            known = self._sites.get(origin)
            if known is None or self._is_old(known):
                self._check_public(origin)
                looks = known.looks + 1 if known else 1
                known = self._sites[origin] = replace(self._look(origin), looks=looks)
            return known

    def _is_old(self, known: Site) -> bool:
        """Return whether to ask a site for its files again; what may pass is asked for a few times."""
        again = known.passing and known.looks < self.manners.tries
        return time.monotonic() - known.since > (self.manners.pause if again else KEPT)

    def delay(self, url: str) -> float:
        """Return the seconds to leave between requests to the site of `url`."""
        try:
            known = self._sites.get(origin_of(url))
        except InvalidInput:
            return 0.0  # it is not asked at all
        return max(self.manners.delay, known.delay if known else 0.0)

    def _look(self, origin: str) -> Site:
        status, text = self._file(f"{origin}/robots.txt")
        robots = robots_txt.of_answer(status, text)
        if isinstance(robots, Reading) and robots.verdict != "absent":
            return Site(robots, None, None, passing=_passes(status))  # nothing may be asked of it
        files = [(f"{origin}{path}", *self._file(origin + path)) for path in (ai_txt.PATH, tdmrep.PATH)]
        ai, tdm = (_said(*file) for file in files)
        return Site(robots, ai, tdm, passing=any(_passes(status) for _, status, _ in files))

    def _file(self, url: str) -> tuple[int, str]:
        """Return status and text of a site's file, over redirects; status 0 when there is no answer."""
        try:
            for _ in range(HOPS + 1):
                with self.ask(url) as answer:
                    if answer.redirect is None:
                        found = self.body(answer, FILE_SIZE) if answer.status == 200 else b""
                        return answer.status, found.decode("utf-8", errors="replace")
                    url = answer.redirect
                    origin_of(url)
        except (Unreachable, InvalidInput):
            return 0, ""
        return 404, ""  # RFC 9309, 2.3.1.2: a chain of more than five counts as unavailable

    def _check_public(self, origin: str) -> None:
        parts = urlsplit(origin)
        try:
            addresses.resolved(parts.hostname or "", parts.port, private=self.manners.private)
        except addresses.Closed as error:
            raise Unreachable(str(error), passing=error.passing) from error


def _passes(status: int) -> bool:
    return status == 0 or status in PASSING


def _said(url: str, status: int, text: str) -> str | Reading | None:
    """Return a site's file, None when there is none, and a Reading when that cannot be told."""
    if 200 <= status < 300:
        return text
    return None if 400 <= status < 500 and status != 429 else Reading("unknown", f"{url} gave status {status}")


def origin_of(url: str) -> str:
    """Return `https://host:port` of `url`.

    Raises:
        InvalidInput: it is no address of the web.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise InvalidInput(f"{url!r:.200} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise InvalidInput(f"{url!r:.200} is no address of the web; write http:// or https:// and a host.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"
