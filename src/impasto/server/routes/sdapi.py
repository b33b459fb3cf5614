"""A1111's API, `/sdapi/v1`, as Open WebUI, SillyTavern and webuiapi call it.

What a request means is in `dialects.a1111`. There are two differences that clients can see: progress, interrupt and
options are each caller's own (`callers`), and a job whose client goes away is cancelled, unless its pictures were to be
saved.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from impasto.errors import InvalidInput
from impasto.pictures import formats
from impasto.recipe import Recipe
from impasto.server.adapters import AdapterInfo, offered
from impasto.server.answers import cancelled, decoded, delivered, ended, uploaded
from impasto.server.callers import Callers, caller_of
from impasto.server.dialects import a1111, a1111_answers
from impasto.server.dialects.a1111 import Extras, ImageSaid, Said
from impasto.server.dialects.a1111_options import Checkpoint, Options
from impasto.server.dialects.images import drawn_mask, fitting, framed, from_text, to_text
from impasto.server.exports import exported
from impasto.server.requests import GenerateRequest
from impasto.server.routes.foreign import ForeignRoute, Wrong
from impasto.server.routes.native import service_of
from impasto.server.service import JobView, Service
from impasto.server.settings import Limits
from impasto.server.statuses import status_of
from impasto.server.worker import said_of

CALLERS = "a1111_callers"


class PictureSaid(BaseModel):
    """A body with a picture in base64."""

    image: str


class ExtrasSaid(Extras):
    """The body of `/extra-single-image`."""

    image: str


class NamedPicture(BaseModel):
    """A picture of a batch."""

    data: str
    name: str = ""


class ExtrasBatchSaid(Extras):
    """The body of `/extra-batch-images`."""

    imageList: list[NamedPicture] = Field(min_length=1, max_length=100)  # noqa: N815 - A1111's name


def refusal(status: int, kind: str, message: str) -> JSONResponse:
    """Return the answer for a request that is not met, in A1111's form."""
    return JSONResponse({"error": kind, "detail": message, "body": "", "errors": message}, status)


class Route(ForeignRoute):
    """A route whose errors have A1111's form."""

    @staticmethod
    def told(error: Wrong) -> Response:
        """Return the answer for a request that is not met because of `error`."""
        if isinstance(error, RequestValidationError):
            return refusal(422, "RequestValidationError", "\n".join(map(_problem, error.errors())))
        if isinstance(error, HTTPException):
            return refusal(error.status_code, "HTTPException", str(error.detail))
        return refusal(status_of(error), type(error).__name__, said_of(error, {})[1])


def _problem(error: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"] if part != "body")
    return f"{place}: {error['msg']}" if place else str(error["msg"])


@dataclass(frozen=True)
class Call:
    """A request's surroundings: who sent it, and to which service."""

    request: Request
    service: Service
    callers: Callers

    @property
    def caller(self) -> str:
        """Who sent it."""
        return caller_of(self.request)

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The models, as A1111 lists them; the first is the default."""
        return [Checkpoint(model.info.id, model.info.name, model.info.digest) for model in self.service.shelf]

    def current(self, options: Options) -> Checkpoint:
        """Return the model that a caller with these options has chosen."""
        return next((one for one in self.checkpoints if one.id == options.checkpoint), self.checkpoints[0])


def _call(request: Request) -> Call:
    state = request.app.state
    if not hasattr(state, CALLERS):
        setattr(state, CALLERS, Callers())
    return Call(request, service_of(request), getattr(state, CALLERS))


Called = Annotated[Call, Depends(_call)]


def router(limits: Limits) -> APIRouter:
    """Return the routes; those that take pictures take two, of the largest size, in base64."""
    routes = APIRouter(prefix="/sdapi/v1", route_class=Route, tags=["a1111"])
    large: dict[str, Any] = {"max_body_size": 2 * limits.max_upload_bytes * 4 // 3 + limits.max_body_bytes}
    for path, function in PICTURE_POSTS.items():
        routes.add_api_route(path, function, methods=["POST"], **large)
    for path, function in POSTS.items():
        routes.add_api_route(path, function, methods=["POST"])
    for path, function in GETS.items():
        routes.add_api_route(path, function, methods=["GET"])
    return routes


async def txt2img(said: Said, call: Called) -> dict[str, Any]:
    """Make pictures from words."""
    options = await asyncio.to_thread(_options, said, call)
    return await _made(said, call, options, a1111.choices(said, options, call.checkpoints))


async def img2img(said: ImageSaid, call: Called) -> dict[str, Any]:
    """Make pictures from pictures."""
    options = await asyncio.to_thread(_options, said, call)
    request = a1111.choices(said, options)
    sources = await asyncio.to_thread(_sources, said, call, request)
    return await _made(said, call, options, {**request, **sources})


def _options(said: Said, call: Call) -> Options:
    options = call.callers.options(call.caller).changed(said.settings, call.checkpoints)
    if said.settings and not said.override_settings_restore_afterwards:
        call.callers.choose(call.caller, options)
    return options


def _sources(said: ImageSaid, call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Return what of a request is about the picture that it begins with, the pictures being kept for it."""
    image = decoded(call.service, from_text(said.init_images[0], "init_images"))
    mask = drawn_mask(decoded(call.service, from_text(said.mask, "mask"))) if said.mask else None
    resolution = call.service.shelf.find(request.get("model")).info.resolution
    own = fitting(image.size, resolution)
    size = (request.get("width", own[0]), request.get("height", own[1]))
    framing = a1111.RESIZE_MODES[said.resize_mode]
    if mask and mask.size != image.size:
        mask = mask.resize(image.size)
    if framing != "stretch" and not (mask and said.inpaint_full_res):
        image, mask = framed(image, size, framing), mask and framed(mask, size, framing)
    sources = {"width": size[0], "height": size[1]}
    start = {**request["start"], "image": uploaded(call.service, image).id}
    if mask is None:
        return {**sources, "start": start}
    return {**sources, "start": start, "mask": {**request["mask"], "image": uploaded(call.service, mask).id}}


async def _made(said: Said, call: Call, options: Options, request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request for pictures, once they are made."""
    service = call.service
    job = await asyncio.to_thread(service.generate, GenerateRequest.parse(request, "The request"))
    call.callers.waits(call.caller, job.id, said.force_task_id)
    try:
        view = await ended(service, job.id, call.request, keep=said.save_images)
    finally:
        call.callers.has(call.caller, job.id)
    return await asyncio.to_thread(_answer, said, call, options, view)


def _answer(said: Said, call: Call, options: Options, job: JobView) -> dict[str, Any]:
    pictures = delivered(call.service, job.id)
    recipes = [Recipe.parse(recipe, "The recipe") for recipe in job.recipes[: max(1, len(pictures))]]
    paper = call.service.shelf.by_digest(recipes[0].model_digest).paper
    hashes = [replace(paper.hashes, parts=paper.library.hashes(recipe)) for recipe in recipes]
    info = a1111_answers.told(said, recipes, call.current(options), hashes, job.id, job.finished or job.created)
    if not pictures:
        info["infotexts"] = []
    images = [to_text(exported(call.service, one, options.format)) for one in pictures] if said.send_images else []
    return {"images": images, "parameters": a1111_answers.echoed(said), "info": json.dumps(info)}


def options(call: Called) -> dict[str, Any]:
    """Say what the caller's settings are."""
    chosen = call.callers.options(call.caller)
    return chosen.listed(call.current(chosen))


def choose_options(said: dict[str, Any], call: Called) -> None:
    """Change the caller's settings, and nobody else's."""
    call.callers.choose(call.caller, call.callers.options(call.caller).changed(said, call.checkpoints))


def progress(call: Called, skip_current_image: bool = False, id_task: str | None = None) -> dict[str, Any]:
    """Say how far the job is that the caller asked for last, or the one that it calls `id_task`."""
    asked = call.callers.newest(call.caller, id_task)
    if asked is None:
        return a1111_answers.Standing().listed(None)
    view = call.service.job(asked.job)
    if view.ended:
        return a1111_answers.Standing().listed(None)
    standing = a1111_answers.Standing(
        job=asked.task,
        progress=view.progress,
        eta_seconds=view.eta_seconds or 0.0,
        step=view.step,
        steps=view.steps,
        picture=min(len(view.pictures), len(view.recipes) - 1),
        pictures=len(view.recipes),
        interrupted=asked.interrupted,
        began=view.created,
    )
    preview = None if skip_current_image else call.service.preview(asked.job)
    return standing.listed(to_text(preview) if preview else None)


def interrupt(call: Called, id_task: str | None = None) -> dict[str, Any]:
    """End the job that the caller asked for last, or the one that it calls `id_task`; it gets what is made by then."""
    if asked := call.callers.newest(call.caller, id_task):
        call.callers.interrupt(call.caller, asked.job)
        cancelled(call.service, asked.job)
    return {}


def sd_models(call: Called) -> list[dict[str, Any]]:
    """List the models."""
    return [one.listed() for one in call.checkpoints]


def png_info(said: PictureSaid, call: Called) -> dict[str, Any]:
    """Say what a picture's file tells of how it was made, whoever wrote it."""
    texts = _texts(call.service, from_text(said.image, "image"))
    text = texts.pop(formats.INFOTEXT_KEY, "") or texts.get("comment", "")
    return {"info": text, "items": texts, "parameters": a1111_answers.parameters(text)}


def _texts(service: Service, data: bytes) -> dict[str, str]:
    decoded(service, data)  # refuses what has too many pixels, before anything else of it is read
    with tempfile.TemporaryDirectory(prefix="impasto-") as folder:
        path = Path(folder) / "picture"
        path.write_bytes(data)
        return formats.texts(path)


def extra_single_image(said: ExtrasSaid, call: Called) -> dict[str, Any]:
    """Make a picture larger or smaller, its pixels only."""
    return {"html_info": "", "image": to_text(_resized(said, call.service, said.image))}


def extra_batch_images(said: ExtrasBatchSaid, call: Called) -> dict[str, Any]:
    """Make pictures larger or smaller, their pixels only."""
    return {"html_info": "", "images": [to_text(_resized(said, call.service, one.data)) for one in said.imageList]}


def _resized(said: Extras, service: Service, text: str) -> bytes:
    data = from_text(text, "image")
    image = decoded(service, data)
    size, crop = said.size(image.size)
    most = service.settings.limits.max_upload_pixels
    if size[0] * size[1] > most:
        raise InvalidInput(
            f"A picture of {size[0]}x{size[1]} would have more than {most:,} pixels, the most there may be."
        )
    told = PngInfo()
    if infotext := _texts(service, data).get(formats.INFOTEXT_KEY):
        told.add_text(formats.INFOTEXT_KEY, infotext)
    written = io.BytesIO()
    framed(image, size, "crop" if crop else "stretch").save(written, format="PNG", pnginfo=told)
    return written.getvalue()


def interrogate(said: PictureSaid) -> None:  # noqa: ARG001 - what clients send
    """Refuse: there is no model here that describes pictures."""
    raise HTTPException(501, "There is no model here that describes pictures. Leave interrogate out.")


def no_memory_by_hand() -> None:
    """Refuse: which model is in memory follows from the jobs."""
    raise HTTPException(501, "The model that a job needs is loaded for it; none is loaded or unloaded by hand here.")


def memory() -> dict[str, Any]:
    """Say how much memory the machine has, in bytes."""
    ram: dict[str, Any] = {"error": "unknown on this system"}
    with suppress(ValueError, OSError, AttributeError):
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
        ram = {"free": free, "used": total - free, "total": total}
    return {"ram": ram, "cuda": {"error": "not told by this server"}}


def cmd_flags(call: Called) -> dict[str, Any]:
    """Say with which of A1111's flags a server like this one would run."""
    settings = call.service.settings
    return {"api": True, "nowebui": False, "listen": not settings.is_local, "port": settings.port}


def nothing() -> list[Any]:
    """List what there is none of."""
    return []


def scripts() -> dict[str, list[str]]:
    """List the scripts: there are none."""
    return {"txt2img": [], "img2img": []}


def loras(call: Called) -> list[dict[str, Any]]:
    """List the adapters, which a prompt calls as `<lora:name:1>`."""
    return [a1111_answers.lora(one.id, one.trigger, one.base) for one in _offered(call) if one.kind == "lora"]


def embeddings(call: Called) -> dict[str, Any]:
    """List the embeddings, which a prompt calls by their names."""
    return {
        "loaded": {one.id: a1111_answers.EMBEDDING for one in _offered(call) if one.kind == "embedding"},
        "skipped": {},
    }


def _offered(call: Call) -> list[AdapterInfo]:
    return offered(call.service.shelf.default.paper.library)


def refresh() -> None:
    """Do nothing: the models are those that the server was started with."""


PICTURE_POSTS: dict[str, Callable[..., Any]] = {
    "/txt2img": txt2img,
    "/img2img": img2img,
    "/png-info": png_info,
    "/extra-single-image": extra_single_image,
    "/extra-batch-images": extra_batch_images,
    "/interrogate": interrogate,
}

POSTS: dict[str, Callable[..., Any]] = {
    "/options": choose_options,
    "/interrupt": interrupt,
    "/skip": interrupt,
    "/refresh-checkpoints": refresh,
    "/refresh-loras": refresh,
    "/refresh-vae": refresh,
    "/refresh-embeddings": refresh,
    "/unload-checkpoint": no_memory_by_hand,
    "/reload-checkpoint": no_memory_by_hand,
}

GETS: dict[str, Callable[..., Any]] = {
    "/options": options,
    "/progress": progress,
    "/sd-models": sd_models,
    "/samplers": a1111_answers.samplers,
    "/schedulers": a1111_answers.schedulers,
    "/upscalers": a1111_answers.upscalers,
    "/latent-upscale-modes": a1111_answers.latent_upscale_modes,
    "/sd-vae": nothing,
    "/sd-modules": nothing,
    "/hypernetworks": nothing,
    "/face-restorers": nothing,
    "/realesrgan-models": nothing,
    "/prompt-styles": nothing,
    "/loras": loras,
    "/embeddings": embeddings,
    "/scripts": scripts,
    "/script-info": nothing,
    "/memory": memory,
    "/cmd-flags": cmd_flags,
}
