"""The web, asked politely: an honest user agent, sites asked first for their own rules, nothing of private networks."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import impasto
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


class Manners(Frozen):
    """How the web is asked.

    Attributes:
        contact: an address or page where a site can complain of us; it is in the user agent.
        per_host: requests to a host at once.
        delay: seconds between two requests to a host; its robots.txt may ask for more.
        timeout: seconds that a request may take in all.
        max_bytes: size from which an image is left.
        private: whether addresses of private networks and of this machine may be asked; a table that somebody else
            wrote could otherwise ask what only this machine can reach.
    """

    contact: str
    per_host: int = 2
    delay: float = 0.2
    timeout: float = 20.0
    max_bytes: int = 64 << 20
    private: bool = False

    @property
    def agent(self) -> str:
        """The user agent."""
        return f"{TOKEN}/{impasto.__version__} (gathers training images, honours reservations; +{self.contact})"


class Unreachable(Exception):
    """A url that could not be had, and why."""


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
    """

    robots: robots_txt.Robots | Reading
    ai: str | Reading | None
    tdm: str | Reading | None
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
        import urllib3

        self.manners = manners
        self._pool = urllib3.PoolManager(num_pools=1024, maxsize=connections, retries=False)
        self._sites: dict[str, Site] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    @contextmanager
    def ask(self, url: str, accept: str = "*/*") -> Iterator[Answer]:
        """Ask for `url`; redirects are not followed, and the body is read by `body`.

        Raises:
            Unreachable: there is no answer.
        """
        import urllib3

        timeout = urllib3.Timeout(connect=self.manners.timeout, read=self.manners.timeout)
        headers: Mapping[str, str] = {"User-Agent": self.manners.agent, "Accept": accept, "Accept-Encoding": "identity"}
        try:
            response = self._pool.request(
                "GET", url, headers=headers, redirect=False, preload_content=False, timeout=timeout
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}"[:300]) from error
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
                    raise Unreachable(f"not here after {self.manners.timeout:g} seconds")
                pieces.append(piece)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"broke off: {error}"[:300]) from error
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
            if known is None or time.monotonic() - known.since > KEPT:
                self._check_public(origin)
                known = self._sites[origin] = self._look(origin)
            return known

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
            return Site(robots, None, None)  # nothing may be asked of it
        ai, tdm = (self._said(origin + path) for path in (ai_txt.PATH, tdmrep.PATH))
        return Site(robots, ai, tdm)

    def _said(self, url: str) -> str | Reading | None:
        """Return a site's file, None when there is none, and a Reading when that cannot be told."""
        status, text = self._file(url)
        if 200 <= status < 300:
            return text
        return None if 400 <= status < 500 and status != 429 else Reading("unknown", f"{url} gave status {status}")

    def _file(self, url: str) -> tuple[int, str]:
        """Return status and text of a site's file, over redirects; status 0 when there is no answer."""
        try:
            for _ in range(HOPS + 1):
                with self.ask(url) as answer:
                    if answer.redirect is None:
                        found = self.body(answer, FILE_SIZE) if answer.status == 200 else b""
                        return answer.status, found.decode("utf-8", errors="replace")
                    url = answer.redirect
                    self._check_public(origin_of(url))
        except (Unreachable, InvalidInput):
            return 0, ""
        return 404, ""  # RFC 9309, 2.3.1.2: a chain of more than five counts as unavailable

    def _check_public(self, origin: str) -> None:
        if self.manners.private:
            return
        host = urlsplit(origin).hostname or ""
        try:
            found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"no address for {host}: {error}") from error
        if any(not ipaddress.ip_address(address.partition("%")[0]).is_global for address in found):
            raise Unreachable(f"{host} is in a private network")


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
