"""Impasto for programs that speak the Model Context Protocol: tools over the native API, by the official SDK.

One set of tools, wherever the server is: in this process (`attach` puts them at `/mcp`, `impasto mcp` starts a service
of its own), or somewhere else, over HTTP (`impasto mcp --server URL`).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx2
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ContentBlock, ImageContent, TextContent, ToolAnnotations
from pydantic import Field
from starlette.routing import Route

import impasto
from impasto.errors import ImpastoError, InvalidInput
from impasto.files import written_whole
from impasto.server.dialects.images import from_text
from impasto.server.settings import Settings

if TYPE_CHECKING:  # torch comes in with these, after a client has seen the tools
    from fastapi import FastAPI

    from impasto.server.service import Service

INSTRUCTIONS = """Impasto makes pictures from words with open models, on the user's own machine or server.
generate makes pictures, edit changes one, recall says how a picture was made, origin says whose works a model learned
from. Pictures are named by ids such as p0123456789abcdef01234; tools take those ids. Making a picture can take minutes:
when a tool answers that a job is not done yet, ask job_status again. What is left out is the model's own default, which
is mostly the best choice; small models want short, concrete prompts."""

LOOK_SECONDS = 0.3
"""How often it is looked how far a job is."""

PATIENCE = 50.0
"""Seconds that a tool waits for pictures by itself: many clients give up on a tool after a minute."""

MOST_BYTES = 700_000
"""Of a picture that is sent as it is; of a larger one a small form is."""

ID = re.compile(r"[pu][0-9a-f]{20}")
MAKERS = 20
"""Makers of a corpus that are named one by one."""

MOST_AT_ONCE = 32
"""Programs of one person that run tools with a service of their own."""

ENDED = ("done", "failed", "cancelled")
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
MAKES = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
STOPS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

Prompt = Annotated[str, Field(description="What the pictures are to show.")]
Picture = Annotated[str, Field(description="Id of a picture, a data: URI, or (where tools run locally) a file's path.")]
Wait = Annotated[float, Field(ge=0, le=3600, description="Seconds to wait for the pictures before answering.")]


@dataclass(frozen=True)
class Place:
    """Where tools run.

    Attributes:
        files: whether pictures may be read from paths: only where client and tools are on one machine, as one person.
        output: folder that finished pictures are also written to.
        url: of the server, as the client can reach it; None when it cannot.
    """

    files: bool = False
    output: Path | None = None
    url: str | None = None


class Tools:
    """What a client can ask for; each method is a tool."""

    def __init__(self, connect: Callable[[], Awaitable[httpx2.AsyncClient]], place: Place) -> None:
        """Say how to reach the native API; it is reached when it is first needed."""
        self._connect, self._place = connect, place

    async def generate(
        self,
        context: Context,
        prompt: Prompt,
        negative_prompt: Annotated[str | None, Field(description="What to keep away from.")] = None,
        count: Annotated[int, Field(ge=1, le=16, description="How many pictures; their seeds follow one another.")] = 1,
        width: Annotated[int | None, Field(description="In pixels, a multiple of 8.")] = None,
        height: Annotated[int | None, Field(description="In pixels, a multiple of 8.")] = None,
        seed: Annotated[int | None, Field(description="The same seed makes the same picture again.")] = None,
        steps: Annotated[int | None, Field(description="More take longer and draw finer.")] = None,
        guidance: Annotated[
            float | None, Field(description="How strictly to follow the prompt; 1 is as trained.")
        ] = None,
        sampler: Annotated[str | None, Field(description="Such as euler or dpmpp_2m.")] = None,
        model: Annotated[str | None, Field(description="Id of a model, from list_models.")] = None,
        wait_seconds: Wait = PATIENCE,
    ) -> list[ContentBlock]:
        """Make pictures from words, and return them with their ids, seeds and recipes."""
        request = {
            **{"prompt": prompt, "negative_prompt": negative_prompt, "count": count, "width": width, "height": height},
            **{"seed": seed, "steps": steps, "guidance": guidance, "sampler": sampler, "model": model},
        }
        job = await self._json("POST", "/api/jobs", json=_given(request))
        return await self._followed(context, job, wait_seconds)

    async def edit(
        self,
        context: Context,
        image: Picture,
        prompt: Prompt,
        strength: Annotated[float, Field(gt=0, le=1, description="How much of the picture to give up.")] = 0.6,
        mask: Annotated[str | None, Field(description="A picture, white where to paint; the rest stays.")] = None,
        negative_prompt: Annotated[str | None, Field(description="What to keep away from.")] = None,
        count: Annotated[int, Field(ge=1, le=16, description="How many pictures.")] = 1,
        seed: Annotated[int | None, Field(description="The same seed makes the same picture again.")] = None,
        steps: Annotated[int | None, Field(description="More take longer and draw finer.")] = None,
        model: Annotated[str | None, Field(description="Id of a model, from list_models.")] = None,
        wait_seconds: Wait = PATIENCE,
    ) -> list[ContentBlock]:
        """Change a picture, all of it or within a mask, and return what came of it."""
        request = {
            **{"prompt": prompt, "negative_prompt": negative_prompt, "count": count, "seed": seed, "steps": steps},
            **{"model": model, "start": {"image": await self._sent(image), "strength": strength}},
            "mask": None if mask is None else {"image": await self._sent(mask)},
        }
        job = await self._json("POST", "/api/jobs", json=_given(request))
        return await self._followed(context, job, wait_seconds)

    async def upscale(
        self,
        context: Context,
        picture: Annotated[str, Field(description="Id of a picture.")],
        scale: Annotated[float, Field(gt=1, le=8, description="How many times as wide and as high.")] = 2.0,
        wait_seconds: Wait = PATIENCE,
    ) -> list[ContentBlock]:
        """Make a picture larger, with new detail."""
        job = await self._json("POST", f"/api/pictures/{_segment(picture)}/upscale", json={"scale": scale})
        return await self._followed(context, job, wait_seconds)

    async def job_status(
        self,
        context: Context,
        job: Annotated[str, Field(description="Id of a job.")],
        wait_seconds: Wait = PATIENCE,
    ) -> list[ContentBlock]:
        """Say how far a job is, and return its pictures once it is done."""
        return await self._followed(context, await self._json("GET", f"/api/jobs/{_segment(job)}"), wait_seconds)

    async def cancel_job(self, job: Annotated[str, Field(description="Id of a job.")]) -> list[ContentBlock]:
        """End a job; what it has made by then stays."""
        return [_text(_job(await self._json("POST", f"/api/jobs/{_segment(job)}/cancel")))]

    async def list_models(self) -> list[ContentBlock]:
        """List the models with their defaults, the first of which is used when none is named, and the adapters."""
        models = (await self._json("GET", "/api/models"))["models"]
        defaults = (await self._json("GET", "/api/capabilities"))["defaults"]
        keys = ("id", "name", "family", "resolution", "licence", "digest", "has_corpus", "examples")
        listed = [
            {**{k: model[k] for k in keys if model.get(k)}, "defaults": defaults[model["id"]]} for model in models
        ]
        found = (await self._json("GET", "/api/adapters"))["adapters"]
        adapters = [{key: one[key] for key in ("id", "kind", "base", "trigger") if one.get(key)} for one in found]
        how = (
            {"adapters": adapters, "how": "Write <lora:id:1>, or an embedding's id, into the prompt."}
            if adapters
            else {}
        )
        return [_text({"models": listed, **how})]

    async def origin(
        self, model: Annotated[str | None, Field(description="Id of a model, from list_models.")] = None
    ) -> list[ContentBlock]:
        """Say what a model learned from: whose works, under which licences, with which consent."""
        name = model or (await self._json("GET", "/api/models"))["models"][0]["id"]
        found = await self._json("GET", f"/api/models/{_segment(name)}/origin")
        corpus = found.get("corpus")
        if corpus and len(corpus["makers"]) > MAKERS:
            more = len(corpus["makers"]) - MAKERS
            corpus = {**corpus, "makers": [*corpus["makers"][:MAKERS], f"and {more} more"]}
        return [_text({"model": name, **found, "corpus": corpus})]

    async def recall(self, image: Picture) -> list[ContentBlock]:
        """Say how a picture was made, whoever made it: prompt, seed, settings, model, as far as its file tells."""
        if ID.fullmatch(image):
            found = await self._json("GET", f"/api/pictures/{_segment(image)}")
            told = {"source": "impasto", "recipe": found["recipe"], "model_digest": found["model_digest"]}
            return [_text(told)]
        data = await asyncio.to_thread(self._read, image)
        found = await self._json("POST", "/api/recall", files={"file": ("picture", data)})
        return [_text({key: found[key] for key in ("source", "request", "recipe", "warnings")})]

    async def find_pictures(
        self,
        search: Annotated[str, Field(description="Words of the prompt, a model's name or a seed.")] = "",
        limit: Annotated[int, Field(ge=1, le=50)] = 10,
    ) -> list[ContentBlock]:
        """Find pictures that were made before, newest first."""
        found = await self._json("GET", "/api/pictures", params={"search": search, "limit": limit})
        return [_text({"pictures": [self._listed(picture) for picture in found["pictures"]]})]

    async def show_picture(self, picture: Annotated[str, Field(description="Id of a picture.")]) -> list[ContentBlock]:
        """Return a picture that was made before."""
        found = await self._json("GET", f"/api/pictures/{_segment(picture)}")
        return [await self._content(found), _text(self._listed(found))]

    async def _followed(self, context: Context, job: dict[str, Any], seconds: float) -> list[ContentBlock]:
        """Return what a tool answers about a job: its pictures, or how far it is after so many seconds."""
        until, told = time.monotonic() + seconds, -1.0
        while job["state"] not in ENDED and time.monotonic() < until:
            if job["progress"] != told:
                told = job["progress"]
                waits = f"{job['position']} before it" if job["state"] == "queued" else f"step {job['step']}"
                await context.report_progress(told, 1.0, f"{job['state']}, {waits}")
            await asyncio.sleep(LOOK_SECONDS)
            job = await self._json("GET", f"/api/jobs/{job['id']}")
        if job["state"] == "failed":
            raise ToolError(f"The job {job['id']} failed: {job['error']['message']}")
        if job["state"] not in ENDED:
            return [_text({**_job(job), "next": "It is not done yet: ask job_status again."})]
        pictures = [await self._json("GET", f"/api/pictures/{picture}") for picture in job["pictures"]]
        contents = [await self._content(picture) for picture in pictures]
        listed = [await asyncio.to_thread(self._listed, picture) for picture in pictures]
        return [*contents, _text({**_job(job), "pictures": listed})]

    async def _content(self, picture: dict[str, Any]) -> ContentBlock:
        answer = await self._send("GET", picture["url"])
        if self._place.output:
            path = self._place.output / f"{picture['id']}.{picture['format']}"
            await asyncio.to_thread(_keep, path, answer.content)
        if len(answer.content) > MOST_BYTES:
            answer = await self._send("GET", picture["thumbnail"])
        data = base64.b64encode(answer.content).decode("ascii")
        return ImageContent(type="image", data=data, mime_type=answer.headers["content-type"])

    def _listed(self, picture: dict[str, Any]) -> dict[str, Any]:
        keys = ("id", "prompt", "seed", "width", "height", "model", "created")
        listed = {key: picture[key] for key in keys}
        if self._place.url:
            listed["url"] = f"{self._place.url}{picture['url']}"
        path = self._place.output and self._place.output / f"{picture['id']}.{picture['format']}"
        return {**listed, "file": str(path)} if path and path.is_file() else listed

    async def _sent(self, image: str) -> str:
        """Return the id of a picture to begin with, sending it where it has none yet."""
        if ID.fullmatch(image):
            return image
        data = await asyncio.to_thread(self._read, image)
        return str((await self._json("POST", "/api/uploads", files={"file": ("picture", data)}))["id"])

    def _read(self, image: str) -> bytes:
        try:
            if image.startswith("data:"):
                return from_text(image, "image")
            if not self._place.files:
                raise InvalidInput(
                    f"{image!r:.60} is neither the id of a picture nor a data: URI. Paths are not read here."
                )
            return Path(image).expanduser().read_bytes()
        except OSError as error:
            raise ToolError(f"Cannot read {image!r:.200}: {error.strerror or error}.") from error
        except ImpastoError as error:
            raise ToolError(str(error)) from error

    async def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = (await self._send(method, path, **more)).json()
        return answer

    async def _send(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            client = await self._connect()
            answer = await client.request(method, path, **more)
        except httpx2.TransportError as error:
            raise ToolError(f"The server does not answer ({error}). Is it running? Start it: impasto serve.") from error
        except ImpastoError as error:
            raise ToolError(str(error)) from error
        if answer.is_error:
            raise ToolError(_problem(answer))
        return answer


TOOLS: dict[str, ToolAnnotations] = {
    "generate": MAKES,
    "edit": MAKES,
    "upscale": MAKES,
    "job_status": READS,
    "cancel_job": STOPS,
    "list_models": READS,
    "origin": READS,
    "recall": READS,
    "find_pictures": READS,
    "show_picture": READS,
}
"""Methods of `Tools` that are tools, and what they do to the world."""


def mcp_server(connect: Callable[[], Awaitable[httpx2.AsyncClient]], place: Place) -> MCPServer[Any]:
    """Return the tools as a server of the SDK, which the caller runs.

    Args:
        connect: returns the connection to the native API.
        place: where the tools run.
    """
    server: MCPServer[Any] = MCPServer(
        "impasto", title="Impasto", version=impasto.__version__, instructions=INSTRUCTIONS, log_level="WARNING"
    )
    tools = Tools(connect, place)
    for name, hints in TOOLS.items():
        server.add_tool(getattr(tools, name), name=name, annotations=hints, structured_output=False)
    return server


def connected_to(app: FastAPI, token: str | None) -> Callable[[], Awaitable[httpx2.AsyncClient]]:
    """Return how to reach the native API of `app` in this process: the same requests, without a network."""
    return fixed(over(httpx2.ASGITransport(app=app, raise_app_exceptions=False), "http://localhost", token))


def fixed(client: httpx2.AsyncClient) -> Callable[[], Awaitable[httpx2.AsyncClient]]:
    """Return how to reach the native API through `client`."""

    async def connect() -> httpx2.AsyncClient:
        return client

    return connect


def over(transport: httpx2.AsyncBaseTransport | None, url: str, token: str | None) -> httpx2.AsyncClient:
    """Return a connection to the native API at `url`."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx2.AsyncClient(transport=transport, base_url=url, headers=headers, timeout=60)


class Own:
    """A service of this process's own, which is started when it is first needed: clients want to see tools at once."""

    def __init__(self, settings: Settings) -> None:
        """Say how it is to be set up. Its folder, or the same with a number where another process has that."""
        self._settings = settings
        self._service: Service | None = None
        self._client: httpx2.AsyncClient | None = None
        self._starting = asyncio.Lock()

    async def connect(self) -> httpx2.AsyncClient:
        """Return the connection to its native API."""
        async with self._starting:
            if self._client is None:
                self._service, app = await asyncio.to_thread(_started, self._settings)
                self._client = await connected_to(app, None)()
            return self._client

    def stop(self) -> None:
        """End it, if it was started; what runs is put back into the queue."""
        if self._service:
            self._service.stop()


def _started(settings: Settings) -> tuple[Service, FastAPI]:
    from impasto.server.app import create_app
    from impasto.server.service import FolderTaken, Service

    for number in range(1, MOST_AT_ONCE):
        data = settings.data if number == 1 else settings.data.with_name(f"{settings.data.name}-{number}")
        chosen = settings.model_copy(update={"data": data})
        try:
            service = Service(chosen)
        except FolderTaken:
            continue
        app = create_app(chosen, service)
        service.start()
        return service, app
    raise InvalidInput(f"{MOST_AT_ONCE} programs use {settings.data} and the folders beside it. End some of them.")


def attach(app: FastAPI, settings: Settings) -> None:
    """Serve the tools at `/mcp` of `app` (streamable HTTP, without sessions); the gate of `app` is theirs too."""
    server = mcp_server(connected_to(app, settings.token), Place())
    mounted = server.streamable_http_app(
        stateless_http=True,
        max_request_body_size=2 * settings.limits.max_upload_bytes,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # the gate has looked
    )
    (route,) = (route for route in mounted.routes if isinstance(route, Route))
    app.router.routes.append(route)
    begun = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(served: Any) -> AsyncIterator[Mapping[str, Any] | None]:
        async with server.session_manager.run(), begun(served) as state:
            yield state

    app.router.lifespan_context = lifespan  # type: ignore[assignment]  # of a FastAPI, which is a Starlette


def _given(request: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in request.items() if value is not None}


def _segment(name: str) -> str:
    """Return `name` as a part of a path."""
    if not re.fullmatch(r"[\w.-]{1,200}", name) or name.startswith("."):
        raise ToolError(f"{name!r:.80} is not an id.")
    return name


def _job(job: dict[str, Any]) -> dict[str, Any]:
    keys = ("id", "state", "position", "progress", "eta_seconds", "pictures", "error")
    return {"job": job["id"], **{key: job[key] for key in keys[1:] if job.get(key) not in (None, [])}}


def _text(data: dict[str, Any]) -> TextContent:
    return TextContent(type="text", text=json.dumps(data, ensure_ascii=False, indent=1))


def _problem(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"The server answered {answer.status_code}."


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_bytes(data)
