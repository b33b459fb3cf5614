"""The web application: one service, the routes of each API over it, and the gate in front."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import impasto
from impasto.errors import ImpastoError, NotFound
from impasto.server.metrics import Metrics
from impasto.server.requests import RequestRefused
from impasto.server.routes import native, openai, sdapi
from impasto.server.security import PAGE_POLICY, Gate
from impasto.server.service import Service
from impasto.server.settings import Settings
from impasto.server.statuses import status_of
from impasto.server.worker import said_of

log = logging.getLogger(__name__)

STUDIO = Path(__file__).parents[1] / "studio" / "page"
NO_STUDIO = (
    "Impasto's server is running, and its API is described at /openapi.json. The studio, its web page, is not built: "
    "make studio.\n"
)

RETRY_SECONDS = "5"


def create_app(settings: Settings, service: Service | None = None) -> FastAPI:
    """Return the application; its service starts and ends with it.

    Args:
        settings: how the server is set up.
        service: to use instead of one of its own.

    Raises:
        InvalidInput, NotFound, WeightsError: see `Service`.
    """
    service = service or Service(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    app = FastAPI(
        title="Impasto",
        version=impasto.__version__,
        description="Pictures from words, and what they were made from.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        max_body_size=settings.limits.max_body_bytes,
        middleware=[Middleware(Gate, settings=settings), Middleware(Counted, metrics=service.metrics)],
    )
    app.state.service = service
    for error in (ImpastoError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(error, HANDLERS[error])
    for routes in (native, openai, sdapi):
        app.include_router(routes.router(settings.limits))
    with suppress(ImportError):  # an extra of its own
        from impasto.server.mcp import attach

        attach(app, settings)
    _serve_page(app)
    return app


class Counted:
    """Counts and times every request, and writes a line about it, without what was asked for."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            seconds = time.monotonic() - started
            # The pattern of the route, never the url: ids would make a counter each.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            self._metrics.answering.labels(route).observe(seconds)
            told = {"method": scope["method"], "route": route, "status": status, "seconds": round(seconds, 4)}
            log.info("request", extra=told)


def refusal(status: int, code: str, message: str, field: str | None = None) -> JSONResponse:
    """Return the answer for a request that is not met, in the native API's form."""
    return JSONResponse({"error": {"code": code, "message": message, "field": field}}, status)


async def _ours(_request: Request, error: Exception) -> Response:
    """Answer for an error of the tree; no path of this machine is in its message."""
    assert isinstance(error, ImpastoError)
    code, message = said_of(error, {})
    answer = refusal(status_of(error), code, message, error.field if isinstance(error, RequestRefused) else None)
    if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        answer.headers["retry-after"] = RETRY_SECONDS
    return answer


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path", "header"))
    message = str(first["msg"])
    return refusal(422, "invalid_request", f"{field}: {message}" if field else message, field or None)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_").replace("-", "_")
    answer = refusal(error.status_code, code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _unforeseen(_request: Request, error: Exception) -> Response:
    log.error("request failed", exc_info=error)
    return refusal(500, "unexpected", "This failed in a way that nobody foresaw. The server's log says more.")


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    ImpastoError: _ours,
    RequestValidationError: _invalid,
    HTTPException: _http,
    Exception: _unforeseen,
}


def _serve_page(app: FastAPI) -> None:
    """Serve the studio's built files, each at its own path, and nothing that was not there at the start."""
    files = {path.relative_to(STUDIO).as_posix(): path for path in STUDIO.rglob("*") if path.is_file()}

    def page(name: str = "index.html") -> Response:
        if name not in files:
            if name == "index.html":
                return PlainTextResponse(NO_STUDIO)
            raise NotFound(f"There is no page {name!r:.80}.")
        # Names of built assets carry a hash of their content.
        lasting = "public, max-age=31536000, immutable" if name.startswith("assets/") else "no-cache"
        headers = {"content-security-policy": PAGE_POLICY, "cache-control": lasting}
        return FileResponse(files[name], headers=headers)

    hidden: dict[str, Any] = {"include_in_schema": False}
    app.add_api_route("/", page, methods=["GET"], response_class=Response, **hidden)
    app.add_api_route("/{name:path}", page, methods=["GET"], response_class=Response, **hidden)
