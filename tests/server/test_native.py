"""The native API on a real server: pictures are made, watched, stopped, found and repeated."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

import impasto
from impasto.pictures import metadata
from impasto.pipeline.reproduction import as_many_threads
from impasto.recipe import Recipe
from impasto.rights import credentials
from impasto.server.places import place
from tests.server.running import PATIENCE, Running

LONG = {"prompt": "slow", "steps": 150, "count": 32}


class Api:
    """Speaks to the server."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.http = httpx2.Client(base_url=server.url, timeout=PATIENCE)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def __call__(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        answer = self.http.request(method, path, **more)
        assert answer.status_code == status, answer.text
        return (
            answer.json() if answer.headers.get("content-type", "").startswith("application/json") else answer.content
        )

    def ask(self, **said: Any) -> str:
        return str(self("POST", "/api/jobs", 202, json={"prompt": "a fox", **said})["id"])

    def ended(self, job: str) -> dict[str, Any]:
        return self.until(job, "done", "failed", "cancelled")

    def until(self, job: str, *states: str) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while (view := self("GET", f"/api/jobs/{job}"))["state"] not in states:
            assert time.monotonic() < until, view
            time.sleep(0.02)
        return dict(view)

    def made(self, **said: Any) -> list[dict[str, Any]]:
        view = self.ended(self.ask(**said))
        assert view["state"] == "done", view["error"]
        return [self("GET", f"/api/pictures/{id_}") for id_ in view["pictures"]]

    def image(self, picture: dict[str, Any]) -> Image.Image:
        return Image.open(io.BytesIO(self("GET", picture["url"])))

    def sent(self, image: Image.Image) -> str:
        data = io.BytesIO()
        image.save(data, format="PNG")
        return str(self("POST", "/api/uploads", 201, files={"file": ("x.png", data.getvalue())})["id"])


@pytest.fixture(scope="module")
def api(house: Running) -> Iterator[Api]:
    with Api(house) as api:
        yield api


@pytest.fixture
def busy(api: Api) -> Iterator[str]:
    """A job that the worker is busy with until the test ends."""
    job = api.ask(**LONG)
    api.until(job, "running")
    yield job
    if api("GET", f"/api/jobs/{job}")["state"] in ("queued", "running"):
        api("POST", f"/api/jobs/{job}/cancel")


def events(api: Api, path: str, after: str | None = None) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield (name, data, id) of the events at `path`."""
    headers = {"last-event-id": after} if after else {}
    with (
        httpx2.Client(base_url=api.server.url, timeout=PATIENCE) as http,
        http.stream("GET", path, headers=headers) as lines,
    ):
        assert lines.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in lines.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "data" in fields:
                yield fields.get("event", ""), json.loads(fields["data"]), fields.get("id", "")
                fields = {}


def test_a_picture_is_the_one_that_the_library_makes(api: Api, tmp_path: Path, tiny_model: str) -> None:
    first, second = api.made(count=2, seed=5, negative_prompt="fog")
    model = impasto.load(Path(tiny_model))
    with as_many_threads(1):  # as the server's worker has
        (expected,) = model.generate("a fox", seed=6, negative_prompt="fog")
    assert (first["seed"], second["seed"]) == (5, 6)
    assert Recipe.model_validate(second["recipe"]) == expected.recipe
    assert np.array_equal(np.asarray(api.image(second)), np.asarray(expected.image))
    path = tmp_path / "x.png"
    path.write_bytes(api("GET", second["url"]))
    assert metadata.read(path).recipe == expected.recipe
    assert credentials.read(path) is not None


def test_what_a_job_tells(api: Api) -> None:
    view = api.ended(api.ask(seed=1))
    assert (view["kind"], view["state"], view["progress"], view["attempts"]) == ("generate", "done", 1.0, 1)
    assert view["request"] == {"prompt": "a fox", "seed": 1}
    assert view["error"] is None
    assert view["created"] <= view["started"] <= view["finished"]


def test_a_job_is_watched_from_its_beginning_to_its_end(api: Api) -> None:
    job = api.ask(steps=20)
    seen = list(events(api, f"/api/jobs/{job}/events"))
    views = [data for name, data, _ in seen if name == "job"]
    assert {data["id"] for data in views} == {job}
    assert views[-1]["state"] == "done"
    assert [view["progress"] for view in views] == sorted(view["progress"] for view in views)
    assert any(0 < view["progress"] < 1 and view["steps"] == 20 for view in views)
    assert [data["job"] for name, data, _ in seen if name == "picture"] == [job]
    (last,) = events(api, f"/api/jobs/{job}/events")
    assert last[1]["state"] == "done"


def test_who_returns_is_told_what_was_missed(api: Api) -> None:
    stream = events(api, "/api/events")
    first, missed = api.ask(), None
    for name, data, mark in stream:
        if name == "job" and data["id"] == first and data["state"] == "done":
            missed = mark
            break
    stream.close()
    second = api.made()[0]["job"]
    for name, data, _ in events(api, "/api/events", after=missed):
        assert not (name == "job" and data["id"] == first)
        if name == "job" and data["id"] == second and data["state"] == "done":
            return


def test_a_job_that_is_not_there_has_no_events(api: Api) -> None:
    assert api("GET", f"/api/jobs/j{'0' * 20}/events", 404)["error"]["code"] == "not_found"


def test_models_take_turns_in_memory(api: Api) -> None:
    (first,), (other,), (again,) = (api.made(seed=1, model=name) for name in ("tiny", "other", "tiny"))
    assert (first["model"], other["model"]) == ("tiny", "other")
    assert first["recipe"] == again["recipe"]
    assert np.array_equal(np.asarray(api.image(first)), np.asarray(api.image(again)))
    assert [model["loaded"] for model in api("GET", "/api/models")["models"]] == [True, False]


def test_previews_show_the_picture_coming(api: Api, busy: str) -> None:
    until = time.monotonic() + PATIENCE
    while not (preview := api("GET", f"/api/jobs/{busy}")["preview"]):
        assert time.monotonic() < until
    with Image.open(io.BytesIO(api("GET", preview))) as image:
        assert (image.format, image.size) == ("JPEG", (512, 512))
    api("POST", f"/api/jobs/{busy}/cancel")
    assert api("GET", preview, 404)["error"]["code"] == "not_found"


def test_a_running_job_stops_and_goes_on_where_it_was(api: Api) -> None:
    job = api.ask(steps=12, count=3, seed=1)
    until = time.monotonic() + PATIENCE
    while not (before := api("GET", f"/api/jobs/{job}")["pictures"]):
        assert time.monotonic() < until
    assert api("POST", f"/api/jobs/{job}/cancel")["state"] == "cancelled"
    assert api.made()[0]["job"] != job  # the worker is free
    view = api("GET", f"/api/jobs/{job}")
    assert view["state"] == "cancelled"
    assert len(view["pictures"]) < 3
    assert api("POST", f"/api/jobs/{job}/cancel")["state"] == "cancelled"
    assert api("POST", f"/api/jobs/{job}/retry")["state"] == "queued"
    view = api.ended(job)
    assert view["pictures"][: len(before)] == before
    assert [api("GET", f"/api/pictures/{id_}")["seed"] for id_ in view["pictures"]] == [1, 2, 3]
    assert api("POST", f"/api/jobs/{job}/cancel", 409)["error"]["code"] == "conflict"


def test_the_line_is_rearranged(api: Api, busy: str) -> None:
    jobs = [api.ask(seed=k) for k in range(3)]

    def line() -> list[str]:
        return [view["id"] for view in api("GET", "/api/jobs", params={"state": "queued"})["jobs"]]

    assert line() == jobs
    assert api("POST", f"/api/jobs/{jobs[2]}/move", json={"before": jobs[0]})["position"] == 0
    assert api("PATCH", f"/api/jobs/{jobs[1]}", json={"priority": 3})["position"] == 0
    assert line() == [jobs[1], jobs[2], jobs[0]]
    assert api("POST", f"/api/jobs/{jobs[1]}/move", json={"before": None})["position"] == 0
    assert api("POST", f"/api/jobs/{busy}/move", 409, json={"before": None})["error"]["code"] == "conflict"
    assert api("POST", f"/api/jobs/{jobs[0]}/move", 404, json={"before": "j" + "0" * 20})
    for job in jobs:
        api("POST", f"/api/jobs/{job}/cancel")


def test_a_request_that_is_repeated_is_one_job(api: Api) -> None:
    def ask(key: str, prompt: str = "a fox") -> httpx2.Response:
        return api.http.post("/api/jobs", json={"prompt": prompt}, headers={"idempotency-key": key})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, ["same"] * 8))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert ask("same", "an owl").status_code == 409
    assert ask("another").json()["id"] != answers[0].json()["id"]
    assert ask("x" * 201).status_code == 422


def test_a_picture_from_a_picture(api: Api) -> None:
    start = api.sent(Image.linear_gradient("L").resize((64, 64)).convert("RGB"))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    said = {"start": {"image": start, "strength": 0.9}, "mask": {"image": api.sent(mask), "blur": 0}, "steps": 4}
    (painted,) = api.made(**said)
    before, after = np.asarray(Image.open(io.BytesIO(api("GET", f"/api/uploads/{start}/file")))), api.image(painted)
    assert np.array_equal(before[:, :32], np.asarray(after)[:, :32])
    assert not np.array_equal(before[:, 32:], np.asarray(after)[:, 32:])
    (again,) = api.made(start={"image": painted["id"], "strength": 0.5}, steps=4)
    assert again["recipe"]["start"]["strength"] == 0.5
    recalled = api("GET", f"/api/pictures/{painted['id']}/recall")
    assert recalled["request"]["start"]["image"] == start
    assert recalled["warnings"] == []


def test_a_recalled_request_makes_the_same_picture(api: Api) -> None:
    (picture,) = api.made(seed=3, sampler="Euler a", guidance=2, width=48, hires={"scale": 1.5, "strength": 0.5})
    recalled = api("POST", "/api/recall", files={"file": ("x.png", api("GET", picture["url"]))})
    assert (recalled["source"], recalled["recipe"]) == ("impasto", picture["recipe"])
    assert "Steps: 2" in recalled["texts"]["parameters"]
    (again,) = api.made(**recalled["request"])
    assert again["recipe"] == picture["recipe"]
    assert api("GET", again["url"]) != b""
    assert np.array_equal(np.asarray(api.image(again)), np.asarray(api.image(picture)))


def test_other_programs_pictures_are_recalled(api: Api) -> None:
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text(
        "parameters",
        "a fox\nNegative prompt: fog\nSteps: 9, Sampler: Euler a, CFG scale: 6.5, Seed: 7, Size: 64x48, "
        "Model hash: 0123456789, Model: other, Denoising strength: 0.4, Version: v1.10.1",
    )
    data = io.BytesIO()
    Image.new("RGB", (64, 48)).save(data, format="PNG", pnginfo=text)
    recalled = api("POST", "/api/recall", files={"file": ("x.png", data.getvalue())})
    assert recalled["source"] == "a1111"
    assert recalled["request"]["negative_prompt"] == "fog"
    assert (recalled["request"]["width"], recalled["request"]["seed"]) == (64, 7)
    assert any("other" in warning for warning in recalled["warnings"])
    assert api.made(**{**recalled["request"], "prompt": "x"})
    plain = io.BytesIO()
    Image.new("RGB", (8, 8)).save(plain, format="JPEG")
    nothing = api("POST", "/api/recall", files={"file": ("x.jpg", plain.getvalue())})
    assert (nothing["source"], nothing["request"]) == (None, {})
    assert api("POST", "/api/recall", 422, files={"file": ("x.jpg", b"x")})["error"]["code"] == "invalid_input"


def test_a_grid_ends_in_a_sheet(api: Api) -> None:
    axes = [{"name": "guidance", "values": [1, 4]}, {"name": "prompt", "values": ["fox", "owl"]}]
    said = {"request": {"prompt": "a {}", "seed": 1}, "axes": axes}
    view = api.ended(api("POST", "/api/grids", 202, json=said)["id"])
    assert (view["state"], view["kind"]) == ("done", "grid")
    pictures = [api("GET", f"/api/pictures/{id_}") for id_ in view["pictures"]]
    assert [picture["kind"] for picture in pictures] == ["picture"] * 4 + ["sheet"]
    assert [picture["prompt"] for picture in pictures[:4]] == ["a fox", "a fox", "a owl", "a owl"]
    sheet = pictures[-1]
    assert (sheet["recipe"], sheet["seed"]) == (None, None)
    assert sheet["width"] > 256
    refused = api("POST", f"/api/pictures/{sheet['id']}/upscale", 422, json={})
    assert "sheet" in refused["error"]["message"]


@pytest.mark.parametrize("upscaler", ["lanczos", "latent-nearest"])
def test_a_picture_is_made_larger(api: Api, upscaler: str) -> None:
    (picture,) = api.made(seed=1)
    job = api("POST", f"/api/pictures/{picture['id']}/upscale", 202, json={"scale": 2, "upscaler": upscaler})["id"]
    view = api.ended(job)
    assert view["state"] == "done", view["error"]
    larger = api("GET", f"/api/pictures/{view['pictures'][0]}")
    assert (larger["width"], larger["height"]) == (128, 128)


def test_the_library_is_searched_starred_and_thinned(api: Api) -> None:
    (picture,) = api.made(prompt="a very particular walrus")
    found = api("GET", "/api/pictures", params={"search": "particular WALRUS"})
    assert [each["id"] for each in found["pictures"]] == [picture["id"]]
    assert found["next"] is None
    assert api("PATCH", f"/api/pictures/{picture['id']}", json={"starred": True})["starred"]
    assert picture["id"] in [each["id"] for each in api("GET", "/api/pictures?starred=true")["pictures"]]
    with Image.open(io.BytesIO(api("GET", picture["thumbnail"]))) as small:
        assert small.format == "WEBP"
    download = api.http.get(picture["url"], params={"download": 1})
    assert download.headers["content-disposition"].startswith("attachment")
    page = api("GET", "/api/pictures", params={"limit": 1})
    assert page["next"] == page["pictures"][0]["id"]
    api("DELETE", f"/api/pictures/{picture['id']}", 204)
    for path in ("", "/file", "/thumbnail", "/recall"):
        api("GET", f"/api/pictures/{picture['id']}{path}", 404)
    assert api("GET", "/api/pictures", params={"search": "walrus"})["pictures"] == []


def test_a_job_that_cannot_be_finished_says_why(api: Api, busy: str) -> None:
    start = api.sent(Image.new("RGB", (64, 64)))
    job = api.ask(start={"image": start})
    place(api.server.service.library.sent, start, "png").unlink()
    api("POST", f"/api/jobs/{busy}/cancel")
    view = api.ended(job)
    assert (view["state"], view["error"]["code"]) == ("failed", "not_found")
    assert view["error"]["message"].startswith("Cannot read ...")
    assert "/" not in view["error"]["message"]
    assert api.made()  # the worker goes on


def test_what_the_server_can_do(api: Api) -> None:
    told = api("GET", "/api/capabilities")
    assert told["version"] == impasto.__version__
    assert told["default_model"] == "tiny"
    assert told["defaults"]["tiny"]["steps"] == 2
    assert {"name": "euler_ancestral", "aliases": ["Euler a"]} in told["samplers"]
    assert told["limits"]["max_steps"] == 150
    model, other = api("GET", "/api/models")["models"]
    assert (model["id"], model["resolution"], other["id"]) == ("tiny", 64, "other")
    assert api("GET", "/api/models/tiny/origin") == {"receipt": None, "corpus": None, "parents": []}
    assert api("GET", "/api/models/nobody/origin", 404)["error"]["code"] == "not_found"


def test_tokens_are_counted_without_making_anything(api: Api) -> None:
    told = api("POST", "/api/tokens", json={"prompt": "fox " * 100, "negative_prompt": ""})
    assert told["negative_prompt"] == {"tokens": 0, "chunks": 1, "room": 75}
    assert told["prompt"]["chunks"] >= 2
    assert told["prompt"]["room"] == 75 * told["prompt"]["chunks"]
    assert told["prompt"]["tokens"] >= 100


def test_it_is_healthy_ready_and_counted(api: Api) -> None:
    assert api("GET", "/api/health") == {"status": "ok"}
    assert api("GET", "/api/ready") == {"status": "ready"}
    api.made()
    text = api("GET", "/metrics").decode()
    counts = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    assert counts['impasto_jobs_total{kind="generate",state="done"}'] >= 1
    assert counts["impasto_pictures_total"] >= 1
    assert counts["impasto_jobs_running"] == 0
    assert counts['impasto_http_requests_total{method="GET",route="/api/jobs/{job}",status="200"}'] >= 1
    assert not [name for name in counts if "/api/jobs/j" in name]


def test_many_clients_at_once_lose_nothing(api: Api) -> None:
    def one(seed: int) -> tuple[int, list[Any]]:
        with Api(api.server) as own:
            return seed, own.made(seed=seed, steps=1)

    with ThreadPoolExecutor(16) as pool:
        made = dict(pool.map(one, range(100, 116)))
    seeds = {seed: [picture["seed"] for picture in pictures] for seed, pictures in made.items()}
    assert seeds == {seed: [seed] for seed in range(100, 116)}


def test_the_worker_is_another_process_and_its_death_is_one_failed_job(api: Api) -> None:
    import os
    import signal

    supervisor = api.server.service.supervisor
    job, after = api.ask(**LONG), api.ask(seed=1)
    killed = set()
    until = time.monotonic() + PATIENCE
    while (view := api("GET", f"/api/jobs/{job}"))["state"] != "failed":
        assert time.monotonic() < until, view
        pid = supervisor.pid
        if view["state"] == "running" and view["progress"] > 0 and pid and pid not in killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    assert len(killed) == 2
    assert os.getpid() not in killed
    assert view["error"]["code"] == "worker_died"
    assert "memory" in view["error"]["message"]
    assert api.ended(after)["state"] == "done"
    assert threading.main_thread().is_alive()
