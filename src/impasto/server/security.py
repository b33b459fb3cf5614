"""Who may speak to the server: the gate that every request passes before anything of it is read.

A web page of anybody's can make a browser send requests to this machine, and a domain of anybody's can be made to point
at it (DNS rebinding). So the name that the request was sent to has to be ours, a request that says which page it comes
from has to come from ours, and where the server can be reached from elsewhere the caller has to know a token.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import json
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from impasto.server.settings import LOOPBACK, Settings

COOKIE = "impasto_token"
OPEN = ("/api/health", "/api/ready", "/api/login")
"""Routes under `/api` that need no token."""

PROTECTED = ("/api/", "/sdapi/", "/v1/", "/mcp", "/metrics", "/openapi.json")
SAFE_METHODS = ("GET", "HEAD")

API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def new_token() -> str:
    """Return a token that cannot be guessed: 256 bits."""
    return secrets.token_urlsafe(32)


class Gate:
    """Lets in what may come in, and puts on every answer what browsers have to know."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._names = {name.lower() for name in (*LOOPBACK, settings.host, *settings.names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        problem = self._problem(scope, headers)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    ours[name] = value
                ours.setdefault("content-security-policy", API_POLICY)
                ours.setdefault("cache-control", "no-store")
            await send(message)

        if problem is None:
            await self._app(scope, receive, with_headers)
        else:
            await _refuse(with_headers, *problem)

    def _problem(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        if not self._is_ours(headers.get("host", "")):
            return 403, "unknown_host", "This server is not known under that name. Add the name with --name."
        if not self._is_from_here(scope, headers):
            return 403, "cross_site", "Requests from other sites' pages are not answered."
        if self._needs_token(scope["path"]) and not self._knows_token(headers):
            return 401, "token_needed", "This server needs its token: Authorization: Bearer <token>."
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether `host`, as the request names it, is this server; only names can be rebound, addresses cannot."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        return not self._settings.is_local and _is_address(name)

    def _is_from_here(self, scope: Scope, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is not None:
            return origin.lower() == f"{scope['scheme']}://{headers.get('host', '')}".lower()
        site = headers.get("sec-fetch-site", "none")
        if site in ("same-origin", "none"):
            return True
        # A link on another page may lead to the studio, and nowhere else.
        navigates = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return navigates and scope["method"] in SAFE_METHODS and not scope["path"].startswith(PROTECTED)

    def _needs_token(self, path: str) -> bool:
        return self._settings.token is not None and path.startswith(PROTECTED) and path not in OPEN

    def _knows_token(self, headers: Headers) -> bool:
        known = (self._settings.token or "").encode()
        return any(hmac.compare_digest(given.encode(), known) for given in _given(headers))


def _given(headers: Headers) -> Iterable[str]:
    """Yield the tokens that a request brings: as bearer, as the password of HTTP Basic, or in our cookie."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield value.strip()
    elif scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
            yield password or name  # tools with one field for both send it as the name
        except (binascii.Error, UnicodeDecodeError):
            return
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return
    if cookie:
        yield cookie.value


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(send: Send, status: int, code: str, message: str) -> None:
    body = json.dumps({"error": {"code": code, "message": message, "field": None}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="impasto"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
