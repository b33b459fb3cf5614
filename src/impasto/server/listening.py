"""Listening on a port until somebody says to stop."""

from __future__ import annotations

import logging.config
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from impasto.errors import InvalidInput
from impasto.server.logs import configured
from impasto.server.service import Service
from impasto.server.settings import Settings

CONNECTIONS = 1024
BACKLOG = 2048
CLOSING_SECONDS = 5
"""That open connections are given, once the server is told to stop."""


class Listener(uvicorn.Server):
    """uvicorn, which ends what would otherwise never end when it is told to stop: subscriptions to events."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Act on a signal to stop."""
        self._service.closing()
        super().handle_exit(sig, frame)


def listen(app: FastAPI, settings: Settings, log_level: str, said: Callable[[str], None]) -> None:
    """Serve `app` until a signal ends it; `said` is called with the url when the port is open.

    Raises:
        InvalidInput: the address cannot be listened on, or may not be without a token.
    """
    if not settings.is_local and settings.token is None:
        raise InvalidInput(f"Listening on {settings.host} needs a token, since others can reach it.")
    opened = _opened(settings)
    logging.config.dictConfig(configured(log_level))  # which closes the handlers of others: not before it is sure
    host, port = opened.getsockname()[:2]
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=CLOSING_SECONDS,
        ws="none",
    )
    said(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    Listener(config, app.state.service).run([opened])


def _opened(settings: Settings) -> socket.socket:
    """Return a socket that is bound to the settings' address."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((settings.host, settings.port))
        opened.listen(BACKLOG)  # who reads the url and connects at once waits, and is not turned away
    except OSError as error:
        opened.close()
        raise InvalidInput(
            f"{settings.host}:{settings.port} cannot be listened on: {error.strerror or error}."
        ) from error
    return opened
