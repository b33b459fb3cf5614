"""`impasto serve`: a server for programs and browsers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from impasto.errors import InvalidInput

if TYPE_CHECKING:
    from impasto.server.settings import Settings

TOKEN = "IMPASTO_TOKEN"


def serve(
    *,
    model: Annotated[tuple[str, ...], Parameter(negative=())] = ("glyph",),
    adapters: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    embeddings: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    data: Path | None = None,
    database: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    name: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    token_file: Path | None = None,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    batch: int = 4,
    batch_pixels: int = 131_072,
    threads: int | None = None,
    grace: float = 10.0,
    max_queue: int = 1000,
    max_side: int = 2048,
    max_steps: int = 150,
    max_count: int = 32,
    log_level: Literal["debug", "info", "warning", "error"] = "info",
) -> None:
    """Serve pictures to browsers and programs: the studio at /, and the APIs that clients already speak.

    Only this machine can reach the server unless --host says otherwise; then every caller has to know a token. It is
    read from --token-file or from the variable IMPASTO_TOKEN; without either, one is drawn and shown once.

    Args:
        model: name or path of a model to offer; several may be given, and the first is the default.
        adapters: file or folder of LoRAs, or the name of a pulled one; several may be given. What was pulled is there
            anyway.
        embeddings: the same for embeddings.
        data: folder for the queue and all pictures; left out, the server's place in your Impasto folder.
        database: url of another database than SQLite in that folder, such as postgresql+psycopg://user@host/name.
        host: address to listen on.
        port: to listen on; 0 for any that is free.
        name: under which browsers may call the server, when it has one; several may be given.
        token_file: file whose first line is the token.
        device: cpu, cuda, mps, or auto for the best there is.
        dtype: number format of the networks; left out, float32 on the CPU, and as in the files elsewhere.
        batch: pictures to make at a time at most, of one job or of several; with 1 a picture is the same bit for bit
            however many wait, with more it may differ by 1/255.
        batch_pixels: that those pictures have together at most; large ones fill a CPU by themselves, a GPU takes more.
        threads: of the CPU that a generation uses; left out, all.
        grace: seconds that a running job is given to finish when the server is stopped.
        max_queue: jobs that may wait.
        max_side: of a picture, in pixels.
        max_steps: of a picture.
        max_count: pictures of a job.
        log_level: what the log tells, JSON lines on standard error.
    """
    from impasto.server.settings import LOOPBACK, Limits, Settings

    console = Console(stderr=True)
    token = _token(token_file)
    if token is None and host not in LOOPBACK:
        from impasto.server.security import new_token

        token = new_token()
        console.print(f"Token, shown this once: {token}", highlight=False)
    settings = Settings.parse(
        {
            "data": data or _place(),
            "url": database,
            "models": model,
            "adapters": adapters,
            "embeddings": embeddings,
            "host": host,
            "port": port,
            "names": name,
            "token": token,
            "device": device,
            "dtype": dtype,
            "batch": batch,
            "batch_pixels": batch_pixels,
            "threads": threads,
            "grace_seconds": grace,
            "limits": Limits.parse(
                {"max_queue": max_queue, "max_side": max_side, "max_steps": max_steps, "max_count": max_count},
                "A limit",
            ),
        },
        "The server's settings",
    )
    _run(settings, log_level, console)


def _run(settings: Settings, log_level: str, console: Console) -> None:
    from impasto.server.listening import listen

    with console.status("Reading models ..."):
        from impasto.server.app import create_app

        app = create_app(settings)
    listen(app, settings, log_level, said=lambda url: print(url, flush=True))


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The token cannot be read from {file}: {error}.") from error
    if not lines or not lines[0].strip():
        raise InvalidInput(f"{file} is empty. Write a token of 16 characters or more into its first line.")
    return lines[0].strip()


def _place() -> Path:
    from impasto.weights.home import home

    return home() / "server"
