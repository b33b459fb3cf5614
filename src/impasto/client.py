"""A client of `impasto serve`: pictures from another process or machine, with the recipes of this package.

from impasto.client import Client

client = Client("http://127.0.0.1:8080")
for picture in client.generate("a red fox", count=4, seed=1):
    picture.save(f"fox-{picture.recipe.seed}.png")
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image
from pydantic import BaseModel, ConfigDict
from typing_extensions import Self

from impasto.errors import ImpastoError, InvalidInput, InvalidRecipe, JobFailed, NotFound, ServerError
from impasto.files import written_whole
from impasto.recipe import Recipe

DEFAULT_URL = "http://127.0.0.1:8080"
ENDED = ("done", "failed", "cancelled")
SILENCE = 60.0
"""Seconds without a word after which a connection that follows a job is given up; the server says one every 15."""

NOT_ASKED = ("format", "model_name", "model_digest", "dtype", "embeddings", "draw", "start", "mask", "adapters")
"""Fields of a recipe that a request has no place for, or another one."""

BREATH = 0.5
"""Seconds before a connection that broke off is made again."""

Source = str | Path | bytes | Image.Image
"""A picture to send: its path, its file's bytes, or its pixels."""


class Told(BaseModel):
    """Something that a server told; what a newer server says besides is kept and not looked at."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class RemoteModel(Told):
    """A model that a server offers."""

    id: str
    name: str
    digest: str
    resolution: int
    family: str
    licence: str | None = None
    loaded: bool = False


class Problem(Told):
    """Why a job failed."""

    code: str
    message: str


class Job(Told):
    """A job as it was when the server told of it.

    Attributes:
        id: of the job.
        kind: generate, grid or upscale.
        state: queued, running, done, failed or cancelled.
        position: how many jobs come before it; None when it does not wait.
        progress: 0 to 1.
        step: of the pictures that are being made.
        steps: of those.
        eta_seconds: that are left; None when that is not known.
        preview: where on the server a picture of how it looks now is.
        request: what was asked for.
        recipes: of its pictures.
        pictures: ids of those that are finished.
        error: why it failed.
    """

    id: str
    kind: str
    state: str
    position: int | None = None
    progress: float = 0.0
    step: int = 0
    steps: int = 0
    eta_seconds: float | None = None
    preview: str | None = None
    request: dict[str, Any]
    recipes: tuple[dict[str, Any], ...] = ()
    pictures: tuple[str, ...] = ()
    error: Problem | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it by itself."""
        return self.state in ENDED


class Record(Told):
    """What the server's library says of a picture."""

    id: str
    job: str
    created: datetime
    width: int
    height: int
    format: str
    seed: int | None = None
    prompt: str
    negative_prompt: str
    model: str
    model_digest: str
    recipe: dict[str, Any] | None = None
    starred: bool = False
    url: str


class Recalled(Told):
    """What a picture's file says of how it was made, whoever wrote it.

    Attributes:
        source: the program that wrote it.
        request: to ask for the same again: `client.submit(**recalled.request)`.
        recipe: ours, exact, where there is one.
        warnings: what of it cannot be asked for here.
    """

    source: str | None = None
    request: dict[str, Any]
    recipe: dict[str, Any] | None = None
    warnings: tuple[Any, ...] = ()


@dataclass(frozen=True)
class RemotePicture:
    """A picture in a server's library.

    Attributes:
        record: what the library says of it.
        client: that found it.
    """

    record: Record
    client: Client

    @property
    def id(self) -> str:
        """By which the server knows it."""
        return self.record.id

    @property
    def recipe(self) -> Recipe | None:
        """That it was made from; None for a sheet of several."""
        return Recipe.parse(self.record.recipe, "The picture's recipe", InvalidRecipe) if self.record.recipe else None

    def file(self) -> bytes:
        """Return its file, with the recipe and the credential inside."""
        return self.client.get(self.record.url).content

    def image(self) -> Image.Image:
        """Return its pixels."""
        with Image.open(io.BytesIO(self.file())) as image:
            image.load()
            return image

    def save(self, path: str | Path) -> Path:
        """Write its file to `path`, whole or not at all, as the server made it: a PNG."""
        target = Path(path)
        if target.suffix.lower() != f".{self.record.format}":
            raise InvalidInput(f"{target} should end in .{self.record.format}, which is what the server made.")
        with written_whole(target) as temporary:
            temporary.write_bytes(self.file())
        return target


class Client:
    """A connection to a server. Close it, or use it in a `with` statement."""

    def __init__(self, url: str = DEFAULT_URL, token: str | None = None, *, timeout: float = 30.0) -> None:
        """Say where the server is; nothing is sent yet.

        Args:
            url: of its root.
            token: that it needs, where it does.
            timeout: seconds that the server is given for an answer; jobs may take as long as they like.
        """
        self.url = url.rstrip("/")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(base_url=self.url, headers=headers, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def models(self) -> list[RemoteModel]:
        """Return the models that are offered; the first is the default."""
        return [RemoteModel.model_validate(model) for model in self._json("GET", "/api/models")["models"]]

    def origin(self, model: str) -> dict[str, Any]:
        """Return what the model with this id was made from: receipt, corpus, parents."""
        return self._json("GET", f"/api/models/{model}/origin")

    def capabilities(self) -> dict[str, Any]:
        """Return what the server can do, its defaults and its limits."""
        return self._json("GET", "/api/capabilities")

    def generate(self, prompt: str, **choices: Any) -> list[RemotePicture]:
        """Make pictures and wait for them; see `submit`.

        Raises:
            JobFailed: the job failed or was cancelled.
            InvalidInput, NotFound, ServerError: see `submit`.
        """
        return self.made(self.wait(self.submit(prompt, **choices)))

    def submit(
        self,
        prompt: str,
        *,
        image: Source | None = None,
        strength: float | None = None,
        mask: Source | None = None,
        key: str | None = None,
        **choices: Any,
    ) -> Job:
        """Ask for pictures, and return the job at once.

        Args:
            prompt: what they are to show.
            image: a picture to begin with: a file, pixels, or a picture's or upload's id in `start`.
            strength: how much of that picture to give up, above 0 and up to 1.
            mask: white where to paint; the rest of the image stays. How to paint is `mask_blur`, `mask_content` ... in
                the server's words: give `mask` in full among the `choices` of `request` for more.
            key: a name for this request; asking again under the same name is answered with the same job.
            choices: fields of a request: `count`, `seed`, `steps`, `guidance`, `sampler`, `width`, `hires` ...

        Raises:
            InvalidInput: the server refuses something of it, and says what.
            NotFound: it names something that the server does not have.
            ServerError: the server cannot be reached.
        """
        request = {"prompt": prompt, **{name: value for name, value in choices.items() if value is not None}}
        if image is not None:
            start = {"image": self.upload(image), **({} if strength is None else {"strength": strength})}
            request["start"] = {**start, **request.get("start", {})}
        if mask is not None:
            request["mask"] = {"image": self.upload(mask), **request.get("mask", {})}
        return self.request(request, key)

    def request(self, request: Mapping[str, Any], key: str | None = None) -> Job:
        """Ask for what a request of the server's own form says; see `submit`."""
        headers = {"Idempotency-Key": key} if key else {}
        return Job.model_validate(self._json("POST", "/api/jobs", json=dict(request), headers=headers))

    def run(self, recipe: Recipe, *, image: Source | None = None, mask: Source | None = None) -> Job:
        """Ask for the picture of a recipe.

        Args:
            recipe: of a model that the server offers.
            image: that it begins with, where it does.
            mask: that it has, where it does.

        Raises:
            InvalidRecipe: the recipe needs a picture that is not given, or adapters.
            InvalidInput, NotFound, ServerError: see `submit`.
        """
        if recipe.adapters:
            raise InvalidRecipe(
                "A recipe with adapters cannot be sent. Ask for them by their ids: submit(adapters=...)."
            )
        plain = recipe.plain()
        request = {key: value for key, value in plain.items() if key not in NOT_ASKED}
        request["model"] = recipe.model_digest
        for field, source in (("start", image), ("mask", mask)):
            given = plain.get(field)
            if given is None:
                continue
            if given["image"] is None:
                request[field] = given
            elif source is None:
                raise InvalidRecipe(f"The recipe has a {field}. Give the picture that it was: {_named(field)}=...")
            else:
                request[field] = {**given, "image": self.upload(source)}
        return self.request(request)

    def upload(self, source: Source) -> str:
        """Send a picture, for jobs to begin with, and return its id."""
        return str(self._json("POST", "/api/uploads", files={"file": ("picture.png", _bytes(source))})["id"])

    def job(self, job: str | Job) -> Job:
        """Return the job as it is now."""
        return Job.model_validate(self._json("GET", f"/api/jobs/{_id(job)}"))

    def jobs(self, state: str | None = None, limit: int = 50) -> list[Job]:
        """Return up to `limit` jobs, newest first; those that wait (`queued`) in their order."""
        found = self._json("GET", "/api/jobs", params={"limit": limit, **({"state": state} if state else {})})
        return [Job.model_validate(job) for job in found["jobs"]]

    def follow(self, job: str | Job) -> Iterator[Job]:
        """Yield the job as it is and whenever it has changed, until it has ended; the caller's loop shows progress.

        Raises:
            NotFound: there is no such job.
            ServerError: the server cannot be reached any more.
        """
        now = self.job(job)
        yield now
        while not now.ended:
            with suppress(httpx2.TransportError):  # a server that is gone is said by the next line that asks it
                for told in self._told(now.id):
                    now = told
                    yield now
            if not now.ended:
                time.sleep(BREATH)
                now = self.job(now)
                yield now

    def _told(self, job: str) -> Iterator[Job]:
        timeout = httpx2.Timeout(self._http.timeout.connect, read=SILENCE)
        with self._http.stream("GET", f"/api/jobs/{job}/events", timeout=timeout) as answer:
            if answer.is_error:
                answer.read()
                raise _error(answer)
            name = ""
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data" and name == "job":
                    yield Job.model_validate(json.loads(value))

    def wait(self, job: str | Job) -> Job:
        """Return the job once it has ended; see `follow`."""
        *_, last = self.follow(job)
        return last

    def made(self, job: Job) -> list[RemotePicture]:
        """Return the pictures of a job that has ended.

        Raises:
            JobFailed: it has failed or was cancelled.
        """
        if job.state != "done":
            problem = job.error or Problem(code=job.state, message=f"The job {job.id} is {job.state}.")
            raise JobFailed(problem.code, problem.message)
        return [self.picture(picture) for picture in job.pictures]

    def cancel(self, job: str | Job) -> Job:
        """End the job; what it has made by then stays."""
        return Job.model_validate(self._json("POST", f"/api/jobs/{_id(job)}/cancel"))

    def retry(self, job: str | Job) -> Job:
        """Try a job that failed or was cancelled again; only what is missing is made."""
        return Job.model_validate(self._json("POST", f"/api/jobs/{_id(job)}/retry"))

    def preview(self, job: Job) -> Image.Image | None:
        """Return what a running job looks like now; None where there is nothing to see."""
        if job.preview is None:
            return None
        try:
            return Image.open(io.BytesIO(self.get(job.preview).content))
        except NotFound:
            return None

    def picture(self, picture: str) -> RemotePicture:
        """Return the picture with this id."""
        return RemotePicture(Record.model_validate(self._json("GET", f"/api/pictures/{picture}")), self)

    def pictures(
        self, search: str = "", *, starred: bool | None = None, model: str | None = None
    ) -> Iterator[RemotePicture]:
        """Yield the pictures whose words match, newest first; more are asked for as they are needed."""
        asked: dict[str, Any] = {"search": search, "starred": starred, "model": model}
        params = {key: value for key, value in asked.items() if value is not None}
        while True:
            page = self._json("GET", "/api/pictures", params=params)
            yield from (RemotePicture(Record.model_validate(one), self) for one in page["pictures"])
            if page["next"] is None:
                return
            params["before"] = page["next"]

    def upscale(self, picture: str, **choices: Any) -> Job:
        """Ask for a picture to be made larger: `scale`, `upscaler`, `strength`, `steps`."""
        return Job.model_validate(self._json("POST", f"/api/pictures/{picture}/upscale", json=choices))

    def recall(self, source: Source) -> Recalled:
        """Return what a picture's file says of how it was made: ours, A1111's, ComfyUI's, InvokeAI's."""
        return Recalled.model_validate(self._json("POST", "/api/recall", files={"file": ("picture", _bytes(source))}))

    def get(self, path: str) -> httpx2.Response:
        """Return the server's answer to GET `path`."""
        return self._send("GET", path)

    def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._send(method, path, **more).json()
        return answer

    def _send(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            answer = self._http.request(method, path, **more)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        if answer.is_error:
            raise _error(answer)
        return answer

    def _unreachable(self, error: Exception) -> ServerError:
        return ServerError(f"No server answers at {self.url} ({error}). Start one: impasto serve.")


def _error(answer: httpx2.Response) -> ImpastoError:
    """Return the error that the server's answer means."""
    try:
        message = str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        message = f"The server answered {answer.status_code}."
    if answer.status_code == 404:
        return NotFound(message)
    return InvalidInput(message) if answer.status_code < 500 and answer.status_code != 429 else ServerError(message)


def _bytes(source: Source) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, Image.Image):
        data = io.BytesIO()
        source.save(data, format="PNG")
        return data.getvalue()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise NotFound(f"Cannot read {source}: {error.strerror or error}.") from error


def _id(job: str | Job) -> str:
    return job if isinstance(job, str) else job.id


def _named(field: str) -> str:
    return "image" if field == "start" else field
