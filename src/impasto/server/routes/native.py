"""The native API: jobs, pictures, models, events."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Header, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field

from impasto.diffusion.names import A1111, A1111_SCHEDULES, find
from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS
from impasto.errors import NotFound
from impasto.recipe import Prompt
from impasto.schema import Frozen
from impasto.server.adapters import AdapterInfo, offered
from impasto.server.adapters import thumbnail as adapter_picture
from impasto.server.events import Event
from impasto.server.jobs import State
from impasto.server.models import ModelInfo
from impasto.server.pictures import MEDIA_TYPES, TooLarge, Upload
from impasto.server.recall import Recall
from impasto.server.requests import AXES, GenerateRequest, GridRequest, Id, Name, Priority, UpscaleRequest
from impasto.server.security import COOKIE
from impasto.server.service import JobView, PictureView, Service, picture_view
from impasto.server.settings import Limits
from impasto.server.words import Measured, measured

UPSCALERS = ("lanczos", "latent", "latent-nearest", "latent-bicubic")
NOISE = ("image", "a1111-cpu", "a1111-nv")
FEATURES = (
    *("generate", "image-to-image", "inpaint", "outpaint", "hires", "variation", "seamless"),
    *("grid", "upscale", "recall", "origin", "adapters"),
)
RETRY_MS = 2000
"""That a browser waits before it listens again after the connection broke."""

FORM_OVERHEAD = 10_000
"""Bytes that a form needs besides the file in it."""


class ModelView(ModelInfo):
    """A model that is offered, and whether it is in memory now."""

    loaded: bool


class Models(Frozen):
    """All models; the first is the default."""

    models: tuple[ModelView, ...]


class Adapters(Frozen):
    """All adapters and embeddings."""

    adapters: tuple[AdapterInfo, ...]


class Jobs(Frozen):
    """Some jobs."""

    jobs: tuple[JobView, ...]


class Pictures(Frozen):
    """Some pictures; `next` is where to go on (`before`), None at the end."""

    pictures: tuple[PictureView, ...]
    next: str | None


class Refusal(Frozen):
    """Why a request was not met."""

    code: str
    message: str
    field: str | None


class Refused(Frozen):
    """The answer to a request that was not met."""

    error: Refusal


class TokensRequest(Frozen):
    """Texts to measure."""

    model: Name | None = None
    prompt: Prompt = ""
    negative_prompt: Prompt = ""


class TokensView(Frozen):
    """How long texts are for a model."""

    prompt: Measured
    negative_prompt: Measured


class MoveRequest(Frozen):
    """Where a job is to go: right before another one, or with None to the end."""

    before: Id | None = None


class PriorityRequest(Frozen):
    """What priority a job is to have."""

    priority: Priority


class StarRequest(Frozen):
    """Whether a picture is to be starred."""

    starred: bool


class LoginRequest(Frozen):
    """The token, to be kept in a cookie that no script can read."""

    token: Annotated[str, Field(max_length=500)]


def service_of(request: Request) -> Service:
    """Return the service behind the application."""
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(service_of)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
LastEvent = Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)]
Few = Annotated[int, Query(ge=1, le=200)]

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refused, "description": what}
    for status, what in {
        400: "not understood",
        403: "from elsewhere",
        404: "not there",
        409: "does not go with the state it is in",
        413: "too large",
        415: "of another type",
        422: "cannot be met",
        429: "too much at the moment",
    }.items()
}


def router(limits: Limits) -> APIRouter:
    """Return the routes; those that take files take bodies as large as files may be."""
    routes = APIRouter(responses=REFUSALS)
    small: dict[str, Any] = {}
    large = {"max_body_size": limits.max_upload_bytes + FORM_OVERHEAD, "form_limits": {"max_files": 1, "max_fields": 4}}
    for method, path, function, more in (
        ("GET", "/api/health", health, small),
        ("GET", "/api/ready", ready, small),
        ("GET", "/metrics", metrics, {"response_class": Response}),
        ("POST", "/api/login", login, {"status_code": 204, "response_class": Response}),
        ("GET", "/api/capabilities", capabilities, small),
        ("GET", "/api/models", models, small),
        ("GET", "/api/models/{model}/origin", origin, small),
        ("GET", "/api/adapters", adapters, small),
        ("GET", "/api/adapters/{adapter}/thumbnail", adapter_thumbnail, {"response_class": Response}),
        ("POST", "/api/tokens", tokens, small),
        ("POST", "/api/uploads", upload, {"status_code": 201, **large}),
        ("GET", "/api/uploads/{upload}/file", upload_file, {"response_class": FileResponse}),
        ("POST", "/api/recall", recall, large),
        ("GET", "/api/pictures/{picture}/recall", recall_picture, small),
        ("POST", "/api/jobs", generate, {"status_code": 202}),
        ("POST", "/api/grids", grid, {"status_code": 202}),
        ("GET", "/api/jobs", jobs, small),
        ("GET", "/api/jobs/{job}", job, small),
        ("PATCH", "/api/jobs/{job}", prioritise, small),
        ("POST", "/api/jobs/{job}/cancel", cancel, small),
        ("POST", "/api/jobs/{job}/retry", retry, small),
        ("POST", "/api/jobs/{job}/move", move, small),
        ("GET", "/api/jobs/{job}/preview", preview, {"response_class": Response}),
        ("GET", "/api/jobs/{job}/events", job_events, {"response_class": EventSourceResponse}),
        ("GET", "/api/events", events, {"response_class": EventSourceResponse}),
        ("GET", "/api/pictures", pictures, small),
        ("GET", "/api/pictures/{picture}", picture, small),
        ("PATCH", "/api/pictures/{picture}", star, small),
        ("DELETE", "/api/pictures/{picture}", delete, {"status_code": 204, "response_class": Response}),
        ("GET", "/api/pictures/{picture}/file", picture_file, {"response_class": FileResponse}),
        ("GET", "/api/pictures/{picture}/thumbnail", thumbnail, {"response_class": FileResponse}),
        ("POST", "/api/pictures/{picture}/upscale", upscale, {"status_code": 202}),
    ):
        routes.add_api_route(path, function, methods=[method], **more)
    return routes


def health() -> dict[str, Literal["ok"]]:
    """Say that the server answers."""
    return {"status": "ok"}


def ready(service: Served) -> Response:
    """Say whether a job that comes now would be made: 200 or 503."""
    service.queue.counts()
    if service.ready:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "starting"}, 503)


def metrics(service: Served) -> Response:
    """Return what is counted, in Prometheus' text form."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def login(request: Request, said: LoginRequest, service: Served) -> Response:
    """Keep the token in a cookie, for what a browser fetches by itself: pictures and events."""
    known = service.settings.token
    if known is None or not hmac.compare_digest(said.token.encode(), known.encode()):
        error = Refusal(code="wrong_token", message="That is not the token.", field="token")
        return JSONResponse(Refused(error=error).plain(), 403)
    answer = Response(status_code=204)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, said.token, httponly=True, samesite="strict", secure=secure)
    return answer


def capabilities(service: Served) -> dict[str, Any]:
    """Say what this server can do and what may be asked of it."""
    return {
        "version": version("impasto"),
        "default_model": service.shelf.default.info.id,
        "defaults": {
            model.info.id: {
                **model.checkpoint.about.settings.plain(),
                "width": model.info.resolution,
                "height": model.info.resolution,
                "multiple": model.checkpoint.spec.vae.factor,
            }
            for model in service.shelf
        },
        "limits": service.settings.limits.plain(),
        "samplers": [{"name": name, "aliases": _aliases(name)} for name in SAMPLERS],
        "schedules": [
            {"name": name, "aliases": [alias for alias, ours in A1111_SCHEDULES.items() if ours == name]}
            for name in SIGMAS
        ],
        "upscalers": UPSCALERS,
        "noise": NOISE,
        "axes": {name: kind.__name__ for name, kind in AXES.items()},
        "features": FEATURES,
    }


def _aliases(sampler: str) -> list[str]:
    return [name for name in A1111 if find(name, tool="a1111").sampler == sampler]


def models(service: Served) -> Models:
    """List the models; the first is the default."""
    loaded = service.supervisor.loaded
    return Models(
        models=tuple(ModelView(**dict(model.info), loaded=model.info.digest == loaded) for model in service.shelf)
    )


def origin(model: str, service: Served) -> dict[str, Any]:
    """Say what a model was made from: receipt, corpus with makers, licences and consent, parents."""
    return service.shelf.find(model).origin


def adapters(service: Served) -> Adapters:
    """List the adapters and embeddings, which prompts may also call by name."""
    return Adapters(adapters=tuple(offered(service.shelf.default.paper.library)))


def adapter_thumbnail(adapter: Name, service: Served) -> Response:
    """Return a picture of what an adapter does, WebP."""
    return Response(adapter_picture(service.shelf.default.paper.library, adapter), media_type="image/webp")


def tokens(said: TokensRequest, service: Served) -> TokensView:
    """Say how long texts are for a model."""
    model = service.shelf.find(said.model)
    return TokensView(prompt=measured(model, said.prompt), negative_prompt=measured(model, said.negative_prompt))


def upload(file: Annotated[UploadFile, File()], service: Served) -> Upload:
    """Keep a picture, to begin another one with or as a mask."""
    limits = service.settings.limits
    return service.library.upload(_content(file, limits), limits.max_upload_pixels, limits.max_uploads)


def upload_file(upload: Id, service: Served) -> FileResponse:
    """Return a picture that was sent, as it was kept."""
    return FileResponse(service.library.source(upload)[0], media_type=MEDIA_TYPES["png"])


def recall(file: Annotated[UploadFile, File()], service: Served) -> Recall:
    """Say what a picture says of how it was made, whichever program wrote it, as a request."""
    return service.recall(_content(file, service.settings.limits))


def recall_picture(picture: Id, service: Served) -> Recall:
    """Say what a picture of the library says of how it was made, as a request."""
    return service.recaller.read(service.library.file(picture))


def _content(file: UploadFile, limits: Limits) -> bytes:
    data = file.file.read(limits.max_upload_bytes + 1)
    if len(data) > limits.max_upload_bytes:
        raise TooLarge(f"The file has more than {limits.max_upload_bytes:,} bytes, the most that may be sent.")
    return data


def generate(said: GenerateRequest, service: Served, key: Key = None) -> JobView:
    """Ask for pictures. The same Idempotency-Key again is answered with the same job."""
    return service.generate(said, key)


def grid(said: GridRequest, service: Served, key: Key = None) -> JobView:
    """Ask for one picture a combination of some settings, and labelled sheets of them."""
    return service.grid(said, key)


def jobs(service: Served, state: State | None = None, limit: Few = 50, before: Id | None = None) -> Jobs:
    """List jobs, newest first; those that wait (state=queued) in their order."""
    return Jobs(jobs=tuple(service.jobs(state, limit, before)))


def job(job: Id, service: Served) -> JobView:
    """Say how far a job is."""
    return service.job(job)


def prioritise(job: Id, said: PriorityRequest, service: Served) -> JobView:
    """Give a waiting job another priority."""
    return service.prioritise(job, said.priority)


def cancel(job: Id, service: Served) -> JobView:
    """End a job; what it has made by then stays."""
    return service.cancel(job)


def retry(job: Id, service: Served) -> JobView:
    """Try a job that failed or was cancelled again."""
    return service.retry(job)


def move(job: Id, said: MoveRequest, service: Served) -> JobView:
    """Put a waiting job somewhere else in the queue."""
    return service.move(job, said.before)


def preview(job: Id, service: Served, n: int = 0) -> Response:  # noqa: ARG001 - n keeps caches from repeating themselves
    """Return what a running job looks like now, JPEG."""
    data = service.preview(job)
    if data is None:
        service.job(job)
        raise NotFound(f"There is no preview of job {job} at the moment.")
    return Response(data, media_type="image/jpeg")


def _watched(job: Id, service: Served) -> tuple[int, JobView]:
    """Return how many events there were, and the job as it was then; what is wrong is said before a stream begins."""
    service.hub.check_room()
    return service.hub.last, service.job(job)


async def job_events(
    job: Id, service: Served, watched: Annotated[tuple[int, JobView], Depends(_watched)], last: LastEvent = None
) -> AsyncIterator[ServerSentEvent]:
    """Tell of one job and its pictures until it has ended."""
    after = service.hub.since(last)
    now, view = watched
    begin = now if after is None else after
    if after is None or view.ended:
        yield ServerSentEvent(data=view.model_dump(mode="json"), event="job")
    if view.ended:
        return

    def wanted(event: Event) -> bool:
        return event.thing == job or event.data.get("job") == job

    async for sent in _sent(service, begin, wanted):
        yield sent
        if sent.event == "job" and sent.data["state"] in ("done", "failed", "cancelled"):
            return


def _going(service: Served) -> tuple[int, list[JobView]]:
    """Return how many events there were, and the jobs that ran or waited then."""
    service.hub.check_room()
    return service.hub.last, [*service.jobs("running", limit=200), *service.jobs("queued", limit=200)]


async def events(
    service: Served, going: Annotated[tuple[int, list[JobView]], Depends(_going)], last: LastEvent = None
) -> AsyncIterator[ServerSentEvent]:
    """Tell of all jobs and pictures; begins with those that wait or run, or after Last-Event-ID."""
    after = service.hub.since(last)
    now, views = going
    begin = now if after is None else after
    for view in views if after is None else ():
        yield ServerSentEvent(data=view.model_dump(mode="json"), event="job")
    async for sent in _sent(service, begin):
        yield sent


async def _sent(service: Service, after: int, wanted: Any = lambda _: True) -> AsyncIterator[ServerSentEvent]:
    async for event in service.hub.subscribe(after, wanted):
        if event is None:
            yield ServerSentEvent(comment="nothing new", retry=RETRY_MS)
        else:
            yield ServerSentEvent(data=event.data, event=event.name, id=service.hub.mark(event))


def pictures(
    service: Served,
    search: Annotated[str, Query(max_length=500)] = "",
    starred: bool | None = None,
    model: Name | None = None,
    limit: Few = 50,
    before: Id | None = None,
) -> Pictures:
    """Find pictures by words, newest first."""
    digest = service.shelf.find(model).info.digest if model else None
    found = service.library.search(search, starred=starred, model=digest, limit=limit, before=before)
    views = tuple(map(picture_view, found))
    return Pictures(pictures=views, next=views[-1].id if len(views) == limit else None)


def picture(picture: Id, service: Served) -> PictureView:
    """Say what a picture is."""
    return service.picture(picture)


def star(picture: Id, said: StarRequest, service: Served) -> PictureView:
    """Star a picture or no longer."""
    return service.star(picture, said.starred)


def delete(picture: Id, service: Served) -> Response:
    """Delete a picture and its file."""
    service.delete(picture)
    return Response(status_code=204)


def picture_file(picture: Id, service: Served, download: bool = False) -> FileResponse:
    """Return the file of a picture, its recipe inside."""
    path = service.library.file(picture)
    kind = path.suffix.removeprefix(".")
    disposition = "attachment" if download else "inline"
    return FileResponse(
        path, media_type=MEDIA_TYPES[kind], filename=f"impasto-{picture}.{kind}", content_disposition_type=disposition
    )


def thumbnail(picture: Id, service: Served) -> FileResponse:
    """Return a small form of a picture, WebP."""
    return FileResponse(service.library.thumbnail(picture), media_type="image/webp")


def upscale(picture: Id, said: UpscaleRequest, service: Served, key: Key = None) -> JobView:
    """Ask for a picture to be made larger."""
    return service.upscale(picture, said, key)
