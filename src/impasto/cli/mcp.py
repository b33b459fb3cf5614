"""`impasto mcp`: tools for programs that speak the Model Context Protocol."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.cli.serve import TOKEN
from impasto.errors import InvalidInput

if TYPE_CHECKING:
    from impasto.server.settings import Settings


def mcp(
    *,
    server: str | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    model: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    data: Path | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Give an assistant tools to make pictures, over standard input and output (Model Context Protocol).

    You do not call this yourself: programs do, for example after `claude mcp add impasto -- impasto mcp`. Without
    --server the tools make pictures in a process of their own, which is started when the first one is asked for and
    listens on no port. A running `impasto serve` has the same tools at its address, under /mcp.

    Args:
        server: url of a running `impasto serve` to use instead; its token, if it has one, is read from the variable
            IMPASTO_TOKEN.
        output: folder that every finished picture is also written to.
        model: name or path of a model to offer; several may be given; left out, glyph.
        data: folder for the queue and all pictures; left out, a place in your Impasto folder.
        device: cpu, cuda, mps, or auto; left out, auto.
        threads: of the CPU that a generation uses; left out, all.
    """
    from impasto.server.mcp import Own, Place, fixed, mcp_server, over

    own = {"model": model, "data": data, "device": device, "threads": threads}
    if server is not None:
        if given := [name for name, value in own.items() if value]:
            raise InvalidInput(f"--{given[0]} is about a process of its own, and --server about another one.")
        url = server.rstrip("/")
        client = over(None, url, os.environ.get(TOKEN))
        mcp_server(fixed(client), Place(files=True, output=output, url=url)).run("stdio")
        return
    service = Own(_settings(model, data, device, threads))
    try:
        mcp_server(service.connect, Place(files=True, output=output)).run("stdio")
    finally:
        service.stop()


def _settings(model: tuple[str, ...], data: Path | None, device: str | None, threads: int | None) -> Settings:
    from impasto.server.settings import Settings
    from impasto.weights.home import home

    said = {
        "models": model or ("glyph",),
        "data": data or home() / "mcp",
        "device": device or "auto",
        "threads": threads,
    }
    return Settings.parse(said, "The settings")
