"""OpenAI's images API, spoken by the official client."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from PIL import Image

from impasto.pictures.metadata import read
from impasto.recipe import Recipe
from impasto.rights import credentials, verify
from tests.server.running import TOKEN, Running

PICTURE = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
SMALL: dict[str, Any] = {"size": "64x64"}
HOLE = (16, 16, 48, 48)


@pytest.fixture(scope="module")
def server(house: Running) -> Running:
    return house


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="not-needed", max_retries=2) as client:
        yield client


def png(image: Image.Image) -> tuple[str, bytes, str]:
    data = io.BytesIO()
    image.save(data, format="PNG")
    return "picture.png", data.getvalue(), "image/png"


def with_hole() -> Image.Image:
    """Return a mask in OpenAI's sense: transparent where to paint."""
    mask = Image.new("RGBA", (64, 64), "black")
    mask.paste((0, 0, 0, 0), HOLE)
    return mask


def opened(text: str | None) -> Image.Image:
    assert text
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).astype(int)


def recipe_of(server: Running, response: Any) -> Recipe:
    return Recipe.model_validate(server.service.job(response.impasto["job"]).recipes[0])


def test_models(client: openai.OpenAI) -> None:
    assert [(model.id, model.object) for model in client.models.list()] == [("tiny", "model"), ("other", "model")]
    assert client.models.retrieve("other").id == "other"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("gpt-image-1")
    assert error.value.code == "model_not_found"
    assert "tiny" in error.value.message


def test_a_prompt_is_enough(client: openai.OpenAI, server: Running) -> None:
    response = client.images.generate(prompt="a fox")
    assert response.data
    assert opened(response.data[0].b64_json).size == (64, 64)  # the model's own
    assert (response.size, response.output_format, response.quality, response.background) == (
        "64x64",
        "png",
        "medium",
        "opaque",
    )
    recipe = recipe_of(server, response)
    assert (recipe.prompt, recipe.steps) == ("a fox", 2)
    assert response.usage
    # Three tokens or so of text; positions of latents of 2 px.
    assert (response.usage.output_tokens, response.usage.input_tokens_details.image_tokens) == (32 * 32, 0)
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert 0 < response.usage.input_tokens < 20
    assert abs(response.created - time.time()) < 600


def test_every_field_of_ours_may_be_sent_beside_theirs(client: openai.OpenAI, server: Running) -> None:
    own = {
        "seed": 5,
        "negative_prompt": "fog",
        "steps": 3,
        "guidance": 2.0,
        "sampler": "DPM++ 2M Karras",
        "seamless": "x",
    }
    response = client.images.generate(
        prompt="a fox", n=2, size="64x48", model="other", style="vivid", user="me", extra_body=own
    )
    assert response.data
    assert [opened(one.b64_json).size for one in response.data] == [(64, 48)] * 2
    assert [one.seed for one in response.data] == [5, 6]  # type: ignore[attr-defined]
    recipe = recipe_of(server, response)
    told = (recipe.model_name, recipe.negative_prompt, recipe.steps, recipe.guidance, recipe.seamless)
    assert told == ("other", "fog", 3, 2.0, "x")
    assert (recipe.sampler, recipe.schedule) == ("dpmpp_2m", "karras")
    assert response.impasto["ignored"] == ["style", "user"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("quality", "steps", "told"), [("low", 1, "low"), ("hd", 4, "high"), ("auto", 2, "medium")])
def test_quality_is_steps(client: openai.OpenAI, server: Running, quality: Any, steps: int, told: str) -> None:
    response = client.images.generate(prompt="a fox", quality=quality, **SMALL)
    assert recipe_of(server, response).steps == steps
    assert response.quality == told


@pytest.mark.parametrize(("kind", "name"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_other_formats_keep_the_recipe(client: openai.OpenAI, tmp_path: Any, kind: Any, name: str) -> None:
    small, large = (
        client.images.generate(
            prompt="a fox", output_format=kind, output_compression=quality, extra_body={"seed": 1}, **SMALL
        )
        for quality in (20, 95)
    )
    assert small.data
    assert large.data
    assert small.output_format == kind
    files = [base64.b64decode(response.data[0].b64_json or "") for response in (small, large) if response.data]
    assert len(files[0]) < len(files[1])
    path = tmp_path / f"a.{'jpg' if kind == 'jpeg' else kind}"
    path.write_bytes(files[0])
    with Image.open(path) as image:
        assert image.format == name
    said = read(path)
    assert said.recipe
    assert said.recipe.seed == 1
    found = credentials.read(path)
    assert found
    assert found.generation
    assert found.generation.recipe == said.recipe.digest
    assert [finding for finding in verify.picture(path).findings if finding.state == "changed"] == []


def test_a_url_leads_to_the_picture_without_a_token_for_an_hour(
    guarded: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="wrong", max_retries=0).models.list()
    client = openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=TOKEN)
    response = client.images.generate(prompt="a fox", response_format="url", output_format="webp", **SMALL)
    assert response.data
    url = response.data[0].url
    assert url
    answer = httpx2.get(url)
    assert answer.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size) == ("WEBP", (64, 64))
    assert httpx2.get(url.replace("webp", "png")).status_code == 403
    assert httpx2.get(url[:-1] + ("0" if url[-1] != "0" else "1")).status_code == 403
    monkeypatch.setattr("impasto.server.routes.openai.LINK_SECONDS", -1)
    late = client.images.generate(prompt="a fox", response_format="url", **SMALL)
    assert late.data
    assert httpx2.get(late.data[0].url or "").status_code == 410


def test_a_stream_shows_the_picture_come_about(client: openai.OpenAI, server: Running) -> None:
    stream = client.images.generate(
        prompt="a fox", stream=True, partial_images=3, extra_body={"steps": 24, "seed": 1}, **SMALL
    )
    *partials, last = list(stream)
    assert [event.type for event in partials] == ["image_generation.partial_image"] * len(partials)
    assert 1 <= len(partials) <= 3
    assert [event.partial_image_index for event in partials] == list(range(len(partials)))  # type: ignore[union-attr]
    pictures = [opened(event.b64_json) for event in (*partials, last)]
    assert {picture.size for picture in pictures} == {(64, 64)}
    assert last.type == "image_generation.completed"
    assert (last.size, last.output_format, last.usage.output_tokens) == ("64x64", "png", 1024)
    assert last.seed == 1  # type: ignore[attr-defined]
    with Image.open(server.service.library.file(last.picture)) as kept:  # type: ignore[attr-defined]
        assert (array(kept) == array(pictures[-1])).all()


def test_an_edit_paints_what_the_mask_leaves_open(client: openai.OpenAI, server: Running) -> None:
    response = client.images.edit(
        image=png(PICTURE), mask=png(with_hole()), prompt="a fox", size="64x64", extra_body={"seed": 1, "mask_blur": 0}
    )
    assert response.data
    painted = opened(response.data[0].b64_json)
    left, top, right, bottom = HOLE
    inside = np.zeros((64, 64), bool)
    inside[top:bottom, left:right] = True
    assert (array(painted)[~inside] == array(PICTURE)[~inside]).all()
    assert (array(painted)[inside] != array(PICTURE)[inside]).mean() > 0.5
    recipe = recipe_of(server, response)
    assert recipe.start
    assert recipe.mask
    assert (recipe.start.strength, recipe.mask.blur, recipe.seed) == (1.0, 0, 1)
    assert response.usage
    assert response.usage.input_tokens_details.image_tokens == 1024


def test_an_edit_without_a_mask_and_its_size(client: openai.OpenAI, server: Running) -> None:
    wide = PICTURE.resize((256, 128))
    response = client.images.edit(image=[png(wide)], prompt="a fox", input_fidelity="high", n=2)
    assert response.size == "88x48"  # the picture's proportions, at the model's resolution
    recipe = recipe_of(server, response)
    assert recipe.start
    assert recipe.start.strength == 0.5
    nested = {"strength": 0.75, "hires": {"scale": 1.5, "strength": 0.9}}
    larger = client.images.edit(image=png(PICTURE), prompt="a fox", size="64x64", extra_body=nested)
    assert larger.data
    assert opened(larger.data[0].b64_json).size == (96, 96)


def test_an_edit_streams(client: openai.OpenAI) -> None:
    events = list(client.images.edit(image=png(PICTURE), prompt="a fox", size="64x64", stream=True, partial_images=0))
    assert [event.type for event in events] == ["image_edit.completed"]


def test_an_edit_in_json(server: Running) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(png(PICTURE)[1]).decode()}"
    body = {"prompt": "a fox", "images": [{"image_url": uri}], "size": "64x64"}
    answer = httpx2.post(f"{server.url}/v1/images/edits", json=body, timeout=60)
    assert opened(answer.json()["data"][0]["b64_json"]).size == (64, 64)
    for image in ({"image_url": "https://example.com/a.png"}, {"file_id": "file-1"}, "a.png"):
        answer = httpx2.post(f"{server.url}/v1/images/edits", json={**body, "images": [image]})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "images")


def test_variations(client: openai.OpenAI, server: Running) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):  # OpenAI has ended it; clients still have it
        response = client.images.create_variation(image=png(PICTURE), n=2, response_format="b64_json")
    assert response.data
    first, second = (array(opened(one.b64_json)) for one in response.data)
    assert (first != second).any()
    recipe = recipe_of(server, response)
    assert recipe.start
    assert (recipe.prompt, recipe.start.strength) == ("", 0.6)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"size": "large"}, "size"),
        ({"size": "100000x64"}, "size"),
        ({"size": "50000x64"}, "size"),
        ({"size": "4096x64"}, "size"),
        ({"n": 11}, "n"),
        ({"background": "transparent"}, "background"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 50}, "output_compression"),
        ({"stream": True, "n": 2}, "n"),
        ({"cfg": 7}, "cfg"),
        ({"steps": 0}, "steps"),
        ({"steps": 100_000}, "steps"),
        ({"sampler": "DPM++ 9M"}, "sampler"),
        ({"frame_count": 3}, "frame_count"),
    ],
)
def test_refusals_name_the_parameter(client: openai.OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as error:
        client.post("/images/generations", body={"prompt": "a fox", **fields}, cast_to=object)
    assert error.value.body
    assert error.value.param == param, error.value.message
    assert error.value.type in ("invalid_request_error", "not_found_error")


def test_refusals_of_pictures(client: openai.OpenAI) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"image": [png(PICTURE), png(PICTURE)]}, "image"),
        ({"image": ("a.png", b"nothing", "image/png")}, "image"),
        ({"image": png(PICTURE), "mask": png(PICTURE)}, "mask"),
        ({"image": png(PICTURE), "mask": png(with_hole().resize((32, 32)))}, "mask"),
    ]
    for fields, param in wrong:
        with pytest.raises(openai.BadRequestError) as error:
            client.images.edit(prompt="a fox", **fields)
        assert error.value.param == param


def test_a_client_that_goes_away_leaves_no_job_behind(server: Running) -> None:
    slow = {"prompt": "slow", "steps": 150, "n": 8, "size": "64x64"}
    url = f"{server.url}/v1/images/generations"
    for more in ({}, {"stream": True, "n": 1, "partial_images": 1}):
        known = {job.id for job in server.service.jobs()}
        asked = {"json": {**slow, **more}, "timeout": 0.7}
        with suppress(httpx2.TimeoutException), httpx2.stream("POST", url, **asked) as answer:
            next(answer.iter_raw())
        (job,) = {job.id for job in server.service.jobs()} - known
        until = time.monotonic() + 20
        while server.service.job(job).state != "cancelled" and time.monotonic() < until:
            time.sleep(0.1)
        assert server.service.job(job).state == "cancelled"


def test_what_fails_is_said_once_and_not_tried_again(client: openai.OpenAI, server: Running) -> None:
    known = {job.id for job in server.service.jobs()}

    def end_it() -> None:
        while not (fresh := {job.id for job in server.service.jobs()} - known):
            time.sleep(0.05)
        server.service.cancel(fresh.pop())

    ending = threading.Thread(target=end_it)
    ending.start()
    with pytest.raises(openai.InternalServerError) as error:
        client.images.generate(prompt="slow", extra_body={"steps": 150}, n=4, **SMALL)
    ending.join()
    assert error.value.code == "cancelled"
    assert len({job.id for job in server.service.jobs()} - known) == 1


def test_what_open_webui_sends(server: Running) -> None:
    asked = {"model": "tiny", "prompt": "a fox", "n": 1, "size": "64x64", "response_format": "b64_json"}
    headers = {"Authorization": "Bearer sk-", "Content-Type": "application/json"}
    answer = httpx2.post(f"{server.url}/v1/images/generations", headers=headers, json=asked, timeout=60)
    assert opened(answer.json()["data"][0]["b64_json"]).size == (64, 64)
    for name, model in (("image", ""), ("image[]", "tiny")):  # one picture or a list of them; nobody chose a model
        fields = {"model": model, "prompt": "a fox", "n": "1", "size": "64x64", "response_format": "b64_json"}
        edits = f"{server.url}/v1/images/edits?api-version=2026-01-01"
        answer = httpx2.post(edits, data=fields, files=[(name, png(PICTURE))], timeout=60)
        assert opened(answer.json()["data"][0]["b64_json"]).size == (64, 64)
        assert answer.json()["impasto"]["model"] == "tiny"
    assert json.loads(answer.text)["impasto"]["ignored"] == []
