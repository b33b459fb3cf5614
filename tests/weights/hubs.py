"""A hub on this machine that speaks the routes of the real one, and can misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "c0ffee00" * 5
LARGE = 2000
"""Bytes from which on a file is kept apart, as with Git LFS, and comes from another address."""


@dataclass
class Repo:
    """A repository.

    Attributes:
        files: content by path.
        card: what its README says of it.
        error: code with which the hub refuses it.
        status: that goes with the code.
    """

    files: dict[str, bytes]
    card: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    status: int = 401


@dataclass
class Hub:
    """The hub.

    Attributes:
        repos: by name.
        cuts: after how many bytes connections for a file are cut, one after another.
        changed: other content than was promised, by path.
        deaf: whether ranges are not heard.
        asked: every request: method, path, range.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    changed: dict[str, bytes] = field(default_factory=dict)
    deaf: bool = False
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    address: str = ""

    def ranges(self, path: str) -> list[str | None]:
        """Return the ranges that a file was asked for in."""
        return [asked for _, where, asked in self.asked if where.startswith("/cdn/") and where.endswith(path)]


def info(name: str, repo: Repo) -> dict[str, Any]:
    """Return what the hub tells of a repository."""
    siblings: list[dict[str, Any]] = []
    for path, content in repo.files.items():
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        sibling: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": blob}
        if len(content) >= LARGE:
            sibling["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        siblings.append(sibling)
    return {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "cardData": repo.card, "tags": []}


@contextmanager
def running() -> Iterator[Hub]:
    """Run a hub for as long as the block lasts."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/revision/([^/]+))?", path)
        file = re.fullmatch(r"/(cdn/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name, revision = (api[1], api[2]) if api else (file[2], file[3]) if file else ("", None)
        repo = self.hub.repos.get(name)
        if repo is None:
            self._send(401, b'{"error":"Invalid username or password."}', {"X-Error-Code": "RepoNotFound"})
        elif repo.error:
            self._send(repo.status, b"{}", {"X-Error-Code": repo.error})
        elif revision not in (None, "main", COMMIT):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif api:
            self._send(200, json.dumps(info(name, repo)).encode(), {"Content-Type": "application/json"})
        elif file:
            self._file(repo, unquote(file[4]), cdn=bool(file[1]), body=body)

    def _file(self, repo: Repo, path: str, *, cdn: bool, body: bool) -> None:
        if path not in repo.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        promised = repo.files[path]
        etag = hashlib.sha256(promised).hexdigest()
        if len(promised) >= LARGE and not cdn:
            linked = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(promised)), "X-Repo-Commit": COMMIT}
            self._send(302, b"", {**linked, "Location": f"{self.hub.address}/cdn{self.path}"})
            return
        content, status, headers = self.hub.changed.get(path, promised), 200, {"ETag": f'"{etag}"'}
        whole, wanted = len(content), re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and not self.hub.deaf:
            first = int(wanted[1])
            content, status = content[first:], 206
            headers["Content-Range"] = f"bytes {first}-{whole - 1}/{whole}"
        cuts = self.hub.cuts.get(path)
        cut = cuts.pop(0) if cuts else None
        self._send(status, content if body else b"", {**headers, "X-Repo-Commit": COMMIT}, len(content), cut)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], length: int | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content) if length is None else length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
