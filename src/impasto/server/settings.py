"""How a server is set up: where it keeps things, what it offers, and how much of it anybody may ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from impasto.schema import Frozen

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Limits(Frozen):
    """What one request may ask for; more is refused.

    Attributes:
        max_side: of a picture, in pixels.
        max_steps: of a picture.
        max_count: pictures of a job.
        max_cells: of a grid.
        max_queue: jobs that wait.
        max_upload_bytes: of a file that is sent.
        max_upload_pixels: of a picture that is sent.
        max_uploads: that are kept; the oldest that no job needs makes room.
        max_body_bytes: of a request without a file.
        max_subscribers: that listen to events at the same time.
    """

    max_side: Annotated[int, Field(ge=64, le=8192)] = 2048
    max_steps: Annotated[int, Field(ge=1, le=1000)] = 150
    max_count: Annotated[int, Field(ge=1, le=1000)] = 32
    max_cells: Annotated[int, Field(ge=1, le=1000)] = 100
    max_queue: Annotated[int, Field(ge=1, le=100_000)] = 1000
    max_upload_bytes: Annotated[int, Field(ge=1024)] = 32_000_000
    max_upload_pixels: Annotated[int, Field(ge=4096)] = 40_000_000
    max_uploads: Annotated[int, Field(ge=1)] = 1000
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1_000_000
    max_subscribers: Annotated[int, Field(ge=1)] = 256


class Settings(Frozen):
    """How a server is set up.

    Attributes:
        data: folder for the database and all pictures; one server uses it at a time.
        url: of the database, as SQLAlchemy writes it; None for SQLite in `data`.
        models: names of packaged models or paths; the first is the default.
        adapters: files and folders of LoRAs that may be used; those that were pulled are there anyway.
        embeddings: the same for embeddings.
        host: address to listen on.
        port: to listen on.
        names: under which people may call the server, besides loopback's and `host`.
        token: that every caller has to know; needed when `host` is not loopback.
        device: that the networks are on.
        dtype: of the networks; None for float32 on the CPU, and as in the files elsewhere.
        batch: pictures to make at a time at most; 1 for pictures that are the same bit for bit however they are made.
        batch_pixels: that those have together at most; larger pictures fill a processor by themselves.
        preview_seconds: least time between two previews of a job; None for no previews.
        threads: of torch in the worker; None for as many as torch takes.
        sign: whether to put content credentials into the pictures.
        grace_seconds: that a running job is given to finish when the server is stopped.
        limits: what one request may ask for.
    """

    data: Path
    url: str | None = None
    models: tuple[str, ...] = ("glyph",)
    adapters: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    names: tuple[str, ...] = ()
    token: Annotated[str, Field(min_length=16, max_length=500)] | None = None
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    batch: Annotated[int, Field(ge=1, le=64)] = 4
    batch_pixels: Annotated[int, Field(ge=1)] = 131_072
    preview_seconds: Annotated[float, Field(ge=0)] | None = 0.5
    threads: Annotated[int, Field(ge=1)] | None = None
    sign: bool = True
    grace_seconds: Annotated[float, Field(ge=0)] = 10.0
    limits: Limits = Limits()

    @property
    def database(self) -> str:
        """The url of the database."""
        return self.url or f"sqlite:///{(self.data / 'impasto.sqlite').resolve()}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK
