"""A real server on a port of this machine, with a tiny model and its worker, for tests with other people's clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from impasto.server.app import create_app
from impasto.server.service import Service
from impasto.server.settings import Settings
from impasto.weights.checkpoint import About
from impasto.weights.checkpoint import Settings as ModelSettings
from impasto.weights.load import save_folder
from tests.weights import tiny

PATIENCE = 60.0
TOKEN = "a-token-of-some-length"


@dataclass(frozen=True)
class Running:
    """A server that runs.

    Attributes:
        url: of its root.
        service: behind it.
        app: that it serves.
    """

    url: str
    service: Service
    app: Any

    @property
    def port(self) -> int:
        """That it listens on."""
        return int(self.url.rpartition(":")[2])


def model_folder(folder: Path, name: str = "tiny") -> str:
    """Write a tiny model of 64 px into `folder` and return its path; one of another name is another model."""
    path = folder / name
    networks = tiny.networks() if name == "tiny" else tiny.networks("v_prediction")
    save_folder(path, networks, About(name=name, settings=ModelSettings(steps=2, guidance=3.0)))
    return str(path)


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[Running]:
    """Run a server whose things are in `folder`."""
    models = settings.pop("models", None) or (model_folder(folder),)
    chosen = {"preview_seconds": 0, "grace_seconds": 1, "threads": 1, "batch": 1, "device": "cpu", **settings}
    app = create_app(Settings(data=folder / "data", models=models, **chosen))
    server = uvicorn.Server(
        uvicorn.Config(
            app, host=settings.get("host", "127.0.0.1"), port=0, log_config=None, ws="none", timeout_graceful_shutdown=2
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    service: Service = app.state.service
    _wait(lambda: server.started and service.ready)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(f"http://127.0.0.1:{port}", service, app)
    finally:
        service.closing()
        server.should_exit = True
        thread.join(PATIENCE)


def _wait(condition: Any) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "The server did not start."
        time.sleep(0.02)
