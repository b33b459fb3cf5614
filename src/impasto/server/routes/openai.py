"""OpenAI's images API, `/v1`, as the official clients call it, streams included.

What a request means is in `dialects.openai`. A job whose client goes away is cancelled, unless the client gave the
request a name (`Idempotency-Key`), under which it can ask again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from impasto.errors import ImpastoError, JobFailed, NotFound
from impasto.server.answers import Delivered, cancelled, decoded, delivered, ended, uploaded
from impasto.server.dialects import openai
from impasto.server.dialects.images import LANCZOS, alpha_mask, from_text, to_text
from impasto.server.dialects.openai import Counted, EditSaid, Said, VariationSaid
from impasto.server.exports import MEDIA_TYPES, exported
from impasto.server.jobs import JobError
from impasto.server.models import Offered
from impasto.server.requests import GenerateRequest, Id, RequestRefused
from impasto.server.routes.foreign import ForeignRoute, Wrong
from impasto.server.routes.native import Key, service_of
from impasto.server.service import JobView, Service
from impasto.server.settings import Limits
from impasto.server.statuses import status_of
from impasto.server.words import measured
from impasto.server.worker import said_of

LINK_SECONDS = 3600
"""How long the address of a picture leads to it."""

QUIET_SECONDS = 15
"""After so long without an event, a stream says that it still goes on."""

LINKS = "openai_links"

THEIRS = {"width": "size", "height": "size", "count": "n"}
"""What the API calls fields of our own requests."""


def refusal(status: int, message: str, field: str | None = None, code: str | None = None) -> JSONResponse:
    """Return the answer for a request that is not met, in OpenAI's form.

    What failed or was cancelled here is not to be tried again by itself: clients do so unless they are told.
    """
    again = {"x-should-retry": "true" if status == 429 else "false"}
    return JSONResponse(openai.error_body(status, message, field, code), status, again)


def refused(error: ImpastoError) -> tuple[int, str, str | None, str | None]:
    """Return status, message, field and code for an error of ours."""
    field = error.field if isinstance(error, RequestRefused) else None
    field = THEIRS.get(field or "", field)
    code = error.code if isinstance(error, (JobFailed, _NoModel)) else None
    status = status_of(error)
    return 400 if status == 422 else status, said_of(error, {})[1], field, code


class Route(ForeignRoute):
    """A route whose errors have OpenAI's form."""

    @staticmethod
    def told(error: Wrong) -> Response:
        """Return the answer for a request that is not met because of `error`."""
        if isinstance(error, RequestValidationError):
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"] if part != "body")
            return refusal(400, f"{field}: {first['msg']}" if field else str(first["msg"]), field or None)
        if isinstance(error, HTTPException):
            return refusal(error.status_code, str(error.detail))
        return refusal(*refused(error))


@dataclass(frozen=True)
class Call:
    """A request's surroundings: the request, the service, and the client's name for the job."""

    request: Request
    service: Service
    key: str | None


def _call(request: Request, key: Key = None) -> Call:
    return Call(request, service_of(request), key)


Called = Annotated[Call, Depends(_call)]


def router(limits: Limits) -> APIRouter:
    """Return the routes; those that take pictures take two of the largest size, in base64 or as they are."""
    routes = APIRouter(route_class=Route, tags=["openai"])
    large: dict[str, Any] = {"max_body_size": 2 * limits.max_upload_bytes * 4 // 3 + limits.max_body_bytes}
    routes.add_api_route("/v1/models", models, methods=["GET"])
    routes.add_api_route("/v1/models/{model}", model, methods=["GET"])
    said: dict[str, Any] = {"openapi_extra": _json(Said)}
    routes.add_api_route("/v1/images/generations", generations, methods=["POST"], response_model=None, **said)
    edits_ = {"openapi_extra": _form(EditSaid, mask=True), **large}
    varied = {"openapi_extra": _form(VariationSaid, mask=False), **large}
    routes.add_api_route("/v1/images/edits", edits, methods=["POST"], response_model=None, **edits_)
    routes.add_api_route("/v1/images/variations", variations, methods=["POST"], response_model=None, **varied)
    routes.add_api_route("/files/{picture}.{format}", linked, methods=["GET"], response_class=Response)
    return routes


def _json(kind: type[Said]) -> dict[str, Any]:
    """Return the description of a body in JSON, which is read by hand."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}}


def _form(kind: type[Said], *, mask: bool) -> dict[str, Any]:
    """Return the description of a body that is a form with files, which is read by hand."""
    schema = kind.model_json_schema()
    file = {"type": "string", "format": "binary"}
    schema["properties"] = {"image": file, **({"mask": file} if mask else {}), **schema["properties"]}
    schema["required"] = ["image", *schema.get("required", [])]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def models(call: Called) -> dict[str, Any]:
    """List the models; the first is the default."""
    return {"object": "list", "data": [openai.listed(one.info.id) for one in call.service.shelf]}


def model(model: str, call: Called) -> dict[str, Any]:
    """Say what a model is."""
    return openai.listed(_model(call, model).info.id)


def _model(call: Call, name: str | None) -> Offered:
    try:
        return call.service.shelf.find(name)
    except NotFound as error:
        raise _NoModel(str(error)) from error


class _NoModel(NotFound):
    """A model that is not here, by the code that OpenAI's clients know."""

    code = "model_not_found"


async def generations(body: dict[str, Any], call: Called) -> Response | dict[str, Any]:
    """Make pictures from words."""
    said = openai.parsed(Said, body)
    chosen = _model(call, said.model)
    request = openai.choices(said, chosen.checkpoint.about.settings.steps)
    return await _answer(said, call, chosen, request, "image_generation")


async def edits(call: Called) -> Response | dict[str, Any]:
    """Make a picture from a picture, or what its mask leaves open anew."""
    fields, files = await _body(call.request)
    return await _from_picture(EditSaid, fields, files, call, "image_edit")


async def variations(call: Called) -> Response | dict[str, Any]:
    """Make pictures that are like a picture."""
    fields, files = await _body(call.request)
    if "mask" in files:
        raise RequestRefused("mask is for edits; a variation is of the whole picture.", "mask")
    return await _from_picture(VariationSaid, fields, files, call, "image_edit")


async def _from_picture(
    kind: type[Said], fields: Mapping[str, Any], files: Mapping[str, list[bytes]], call: Call, event: str
) -> Response | dict[str, Any]:
    said = openai.parsed(kind, fields)
    chosen = _model(call, said.model)
    pictures = files.get("image", [])
    if len(pictures) != 1:
        given = "no picture was sent" if not pictures else f"{len(pictures)} pictures were sent"
        raise RequestRefused(f"image: one picture is edited at a time here, {given}.", "image")
    sources, size = await asyncio.to_thread(_sources, said, call.service, pictures[0], files.get("mask", [None])[0])
    own = openai.edited_size(said, size, chosen.info.resolution)
    request = {**openai.choices(said, chosen.checkpoint.about.settings.steps, own), **sources}
    return await _answer(said, call, chosen, request, event, size)


def _sources(
    said: Said, service: Service, picture: bytes, mask: bytes | None
) -> tuple[dict[str, Any], tuple[int, int]]:
    """Return `start` and `mask` of a request, the pictures being kept for it, and the picture's size."""
    image = _decoded(service, picture, "image")
    request = openai.start(said, masked=mask is not None)
    request["start"]["image"] = uploaded(service, image).id
    if mask is not None:
        drawn = _decoded(service, mask, "mask")
        if drawn.size != image.size:
            sizes = f"{drawn.width}x{drawn.height}, image {image.width}x{image.height}"
            raise RequestRefused(f"mask is {sizes}. Both need one size.", "mask")
        try:
            request["mask"]["image"] = uploaded(service, alpha_mask(drawn)).id
        except ImpastoError as error:
            raise RequestRefused(str(error), "mask") from error
    return request, image.size


def _decoded(service: Service, data: bytes, field: str) -> Image.Image:
    try:
        return decoded(service, data)
    except ImpastoError as error:
        if status_of(error) != 422:
            raise
        raise RequestRefused(f"{field}: {error}", field) from error


async def _body(request: Request) -> tuple[dict[str, Any], dict[str, list[bytes]]]:
    """Return the fields and the files of a body, which is a form, or JSON with pictures as `data:` URIs."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _json_body(await request.body())
    if kind != "multipart/form-data":
        raise HTTPException(415, "Send multipart/form-data, or application/json with images as data: URIs.")
    fields: dict[str, Any] = {}
    files: dict[str, list[bytes]] = {}
    async with request.form(max_files=20, max_fields=100) as form:
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.setdefault(key.removesuffix("[]"), []).append(await value.read())
            else:
                fields[key] = value
    return openai.unflattened(fields), files


def _json_body(body: bytes) -> tuple[dict[str, Any], dict[str, list[bytes]]]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestRefused("The body is not JSON.") from error
    if not isinstance(fields, dict):
        raise RequestRefused("The body is not a JSON object.")
    images, mask = fields.pop("images", None) or [], fields.pop("mask", None)
    if not isinstance(images, list):
        raise RequestRefused("images is not a list.", "images")
    files = {"image": [_referred(image, "images") for image in images]}
    return fields, {**files, "mask": [_referred(mask, "mask")]} if mask else files


def _referred(image: Any, field: str) -> bytes:
    address = image.get("image_url") if isinstance(image, dict) else None
    if not isinstance(address, str):
        raise RequestRefused(f"{field}: files are not kept here. Send image_url, a data: URI with the picture.", field)
    try:
        return from_text(address, field)
    except ImpastoError as error:
        raise RequestRefused(str(error), field) from error


async def _answer(
    said: Said, call: Call, chosen: Offered, request: dict[str, Any], event: str, sent: tuple[int, int] | None = None
) -> Response | dict[str, Any]:
    """Return the answer to a request for pictures, once they are made, or a stream of how they come about."""
    asked = GenerateRequest.parse(request, "The request", _Invalid)
    job = await asyncio.to_thread(call.service.generate, asked, call.key)
    if said.stream:
        events = _events(said, call, chosen, job, event, sent)
        return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})
    view = await ended(call.service, job.id, call.request, keep=call.key is not None)
    if view.state == "cancelled":
        raise JobFailed("cancelled", f"The job {job.id} was cancelled.")
    return await asyncio.to_thread(_delivery, said, call, chosen, view, sent)


class _Invalid(RequestRefused):
    """A field of our own that cannot be as it is."""

    def __init__(self, message: str) -> None:
        field = message.partition("\n  ")[2].partition(":")[0]
        super().__init__(message, field or None)


def _delivery(said: Said, call: Call, chosen: Offered, job: JobView, sent: tuple[int, int] | None) -> dict[str, Any]:
    pictures = delivered(call.service, job.id)
    size = (pictures[0].picture.width, pictures[0].picture.height) if pictures else (0, 0)
    own = {"job": job.id, "model": chosen.info.id, "model_digest": chosen.info.digest, "ignored": said.ignored}
    return {
        "created": int(job.created.timestamp()),
        "data": [_datum(said, call, one) for one in pictures],
        **openai.described(said, size),
        **({"safety_identifier": said.safety_identifier} if said.safety_identifier else {}),
        "usage": _counted(said, chosen, pictures, sent).usage(),
        "impasto": own,
    }


def _datum(said: Said, call: Call, one: Delivered) -> dict[str, Any]:
    told = {"seed": one.picture.seed, "picture": one.picture.id}
    if said.response_format == "url":
        return {"url": _link(said, call, one.picture.id), **told}
    return {"b64_json": to_text(_file(said, call.service, one)), **told}


def _file(said: Said, service: Service, one: Delivered) -> bytes:
    return exported(service, one, said.format, said.output_compression)


def _counted(said: Said, chosen: Offered, pictures: list[Delivered], sent: tuple[int, int] | None) -> Counted:
    factor = chosen.checkpoint.spec.vae.factor

    def positions(width: int, height: int) -> int:
        return (width // factor) * (height // factor)

    negative = str((said.model_extra or {}).get("negative_prompt") or "")
    return Counted(
        text=measured(chosen, said.prompt).tokens + (measured(chosen, negative).tokens if negative else 0),
        image=positions(*sent) if sent else 0,
        output=sum(positions(one.picture.width, one.picture.height) for one in pictures),
    )


async def _events(
    said: Said, call: Call, chosen: Offered, job: JobView, event: str, sent: tuple[int, int] | None
) -> AsyncIterator[str]:
    """Yield the events of a stream: as many partial pictures as were asked for and come about, and the picture."""
    service, wanted, shown = call.service, said.partial_images or 0, 0
    quiet = time.monotonic()
    try:
        async for view in service.follow(job.id):
            if view.ended:
                job = view
                break
            if shown < min(int(view.progress * (wanted + 1)), wanted) and (preview := service.preview(job.id)):
                partial = await asyncio.to_thread(_partial, said, job, preview)
                yield _event(f"{event}.partial_image", {**partial, "partial_image_index": shown})
                shown, quiet = shown + 1, time.monotonic()
            elif time.monotonic() - quiet > QUIET_SECONDS:
                yield ": not yet\n\n"
                quiet = time.monotonic()
        yield await asyncio.to_thread(_last_event, said, call, chosen, job, event, sent)
    finally:
        if not job.ended and call.key is None:
            await asyncio.shield(asyncio.to_thread(cancelled, service, job.id))


def _last_event(said: Said, call: Call, chosen: Offered, job: JobView, event: str, sent: tuple[int, int] | None) -> str:
    if job.state != "done":
        problem = job.error or JobError(code=job.state, message=f"The job {job.id} is {job.state}.")
        return _event("error", openai.error_body(500, problem.message, code=problem.code))
    whole = _delivery(said.model_copy(update={"response_format": None}), call, chosen, job, sent)
    (picture,) = whole.pop("data")
    return _event(f"{event}.completed", {**whole, **picture, "created_at": whole.pop("created")})


def _partial(said: Said, job: JobView, preview: bytes) -> dict[str, Any]:
    """Return an event's picture of what is made so far, at the size that it is going to have."""
    recipe = job.recipes[0]
    last = recipe.get("hires") or recipe
    size = (last["width"], last["height"])
    written = io.BytesIO()
    with Image.open(io.BytesIO(preview)) as image:
        image.convert("RGB").resize(size, LANCZOS).save(written, format=said.format.upper())
    picture = {"b64_json": to_text(written.getvalue()), "created_at": int(time.time())}
    return {**picture, **openai.described(said, size)}


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n"


def _link(said: Said, call: Call, picture: str) -> str:
    """Return an address of the picture, which leads to it for an hour, and whoever has it needs no token."""
    until = int(time.time()) + LINK_SECONDS
    quality = -1 if said.output_compression is None else said.output_compression
    told = {"until": until, "quality": quality, "seal": _seal(call.request, picture, said.format, until, quality)}
    return f"{call.request.base_url}files/{picture}.{said.format}?{urlencode(told)}"


def _seal(request: Request, picture: str, kind: str, until: int, quality: int) -> str:
    """Return what only this server can write: the address, authenticated with its token or a key of this run."""
    state = request.app.state
    if not hasattr(state, LINKS):
        setattr(state, LINKS, secrets.token_bytes(32))
    token = service_of(request).settings.token
    key = hashlib.sha256(token.encode()).digest() if token else getattr(state, LINKS)
    return hmac.new(key, f"{picture}.{kind}?{until}&{quality}".encode(), hashlib.sha256).hexdigest()


def linked(
    picture: Id,
    format: Literal["png", "jpeg", "webp"],  # noqa: A002 - what the address calls it
    until: Annotated[int, Query(ge=0, le=2**53)],
    quality: Annotated[int, Query(ge=-1, le=100)],
    seal: Annotated[str, Query(max_length=100)],
    request: Request,
) -> Response:
    """Return the file of a picture to whoever has its address, which an answer with `response_format=url` told."""
    service = service_of(request)
    if not hmac.compare_digest(seal.encode(), _seal(request, picture, format, until, quality).encode()):
        raise HTTPException(403, "This address was not given out by this server, or by an earlier run of it.")
    if until < time.time():
        raise HTTPException(410, "This address led to the picture for an hour, which is over.")
    one = Delivered(service.picture(picture), service.library.file(picture))
    data = exported(service, one, format, None if quality < 0 else quality)
    return Response(data, media_type=MEDIA_TYPES[format])
