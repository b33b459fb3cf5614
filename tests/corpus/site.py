"""A web site on this machine, with every address of 127.0.0.0/8 as a host of its own; it counts what it is asked."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image


@dataclass
class Page:
    """What is at a path."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Shaky(Page):
    """What is at a path after some answers that are worth nothing.

    Attributes:
        failures: how many those are.
        failure: status of those; 0 for a connection that breaks off.
        asking: headers of those.
    """

    failures: int = 1
    failure: int = 503
    asking: tuple[tuple[str, str], ...] = ()

    def at(self, times: int) -> Page:
        """Return the answer when it is asked for the `times`-th time."""
        return self if times > self.failures else Page(b"", self.failure, self.asking)


@dataclass
class Site:
    """What was asked, and where it is.

    Attributes:
        port: of the server.
        pages: (host, path) or (any host as "", path) -> what is there; `/images/N.png` is there without a row.
        asked: (host, path) -> how often.
        agents: user agents that were seen.
        most: requests at once to a host, the most there were.
    """

    port: int
    pages: dict[tuple[str, str], Page]
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    agents: set[str] = field(default_factory=set)
    busy: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    lock: Any = field(default_factory=threading.Lock)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return the url of `path` on `host`."""
        return f"http://{host}:{self.port}{path}"


def image(seed: int, kind: str = "PNG") -> bytes:
    """Return an image file that is like no other seed's."""
    tiles = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(tiles).resize((48, 48), Image.Resampling.NEAREST).save(file, kind, quality=95, subsampling=0)
    return file.getvalue()


@contextmanager
def served(pages: Mapping[tuple[str, str], Page]) -> Iterator[Site]:
    """Serve `pages` as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            host = self.headers["Host"].rpartition(":")[0]
            with site.lock:
                site.asked[host, self.path] += 1
                site.agents.add(self.headers["User-Agent"])
                site.busy[host] += 1
                site.most[host] = max(site.most[host], site.busy[host])
            page = site.pages.get((host, self.path)) or site.pages.get(("", self.path)) or _drawn(self.path)
            if isinstance(page, Shaky):
                page = page.at(site.asked[host, self.path])
            if not page.status:
                self.close_connection = True
                self.connection.close()
                return
            self.send_response_only(page.status)
            for name, value in page.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(page.body)))
            with site.lock:
                site.busy[host] -= 1  # whoever has the head may ask again
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, *_: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None: ...

    with Server(("0.0.0.0", 0), Handler) as server:
        site = Site(server.server_address[1], dict(pages))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def _drawn(path: str) -> Page:
    name = path.removeprefix("/images/").removesuffix(".png")
    return Page(image(int(name))) if name.isdecimal() else Page(b"nothing here", 404)
