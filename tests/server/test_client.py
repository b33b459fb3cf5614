"""The Python client, against a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import impasto
from impasto.client import Client, Job
from impasto.errors import InvalidInput, InvalidRecipe, JobFailed, NotFound, ServerError
from impasto.pictures.metadata import read
from impasto.pictures.origin import pixels_digest
from impasto.recipe import FromPicture, Mask
from tests.server.running import Running

PICTURE = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
MASK = Image.new("L", (64, 64))
MASK.paste(255, (16, 16, 48, 48))


@pytest.fixture(scope="module")
def server(house: Running) -> Running:
    return house


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def test_pictures_their_files_and_their_recipes(client: Client, tmp_path: Path) -> None:
    one, two = client.generate("a teal fox", count=2, seed=5, steps=3)
    assert one.recipe
    assert (one.recipe.prompt, one.recipe.seed, one.recipe.steps) == ("a teal fox", 5, 3)
    assert one.image().size == (64, 64)
    assert one.image().tobytes() != two.image().tobytes()
    path = one.save(tmp_path / "fox.png")
    assert read(path).recipe == one.recipe
    with pytest.raises(InvalidInput, match=r"should end in \.png"):
        one.save(tmp_path / "fox.jpg")
    assert [picture.id for picture in client.pictures("teal")] == [two.id, one.id]
    assert client.picture(one.id).record == one.record


def test_all_pages_of_pictures_are_found(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made = client.generate("a rust fox", count=3)
    ask = client._json

    def by_ones(method: str, path: str, **more: object) -> dict[str, object]:
        params = {**more.pop("params", {}), "limit": 1}  # type: ignore[dict-item]
        return ask(method, path, params=params, **more)

    monkeypatch.setattr(client, "_json", by_ones)
    assert {picture.id for picture in client.pictures("rust")} == {picture.id for picture in made}


def test_a_job_is_followed(client: Client) -> None:
    job = client.submit("a fox", steps=20, count=2)
    seen = list(client.follow(job))
    assert [one.progress for one in seen] == sorted(one.progress for one in seen)
    assert len({one.progress for one in seen}) > 2
    assert seen[-1].state == "done"
    assert [picture.record.job for picture in client.made(seen[-1])] == [job.id] * 2
    assert client.job(job).ended
    assert job.id in [one.id for one in client.jobs("done")]


def test_a_job_is_seen_and_cancelled_and_tried_again(client: Client) -> None:
    job = client.submit("slow", steps=150, count=8)
    seen: list[Job] = []
    for now in client.follow(job):
        seen.append(now)
        if (small := client.preview(now)) is not None:
            assert small.size[0] > 0
            assert client.cancel(now).state == "cancelled"
    assert seen[-1].state == "cancelled"
    with pytest.raises(JobFailed, match="cancelled") as error:
        client.made(seen[-1])
    assert error.value.code == "cancelled"
    assert client.retry(job).state == "queued"
    client.cancel(job)


def test_a_key_asks_once(client: Client) -> None:
    one, two = (client.submit("a fox", seed=1, key="a-key-of-mine") for _ in range(2))
    assert one.id == two.id


def test_a_recipe_is_run_again_to_the_same_pixels(client: Client, server: Running) -> None:
    model = impasto.load(server.service.shelf.find("other").path)
    start = FromPicture(image=pixels_digest(PICTURE), strength=0.9, counting="a1111")
    mask = Mask(image=pixels_digest(MASK), blur=2, content="noise")
    recipe = model.recipe(
        "a [fox|wolf]", seed=3, sampler="DPM++ 2M SDE Heun", clip_skip=2, noise="a1111-nv", start=start, mask=mask
    )
    (expected,) = next(progress.made for progress in model.make(recipe, sources=[PICTURE, MASK]) if progress.done)
    (picture,) = client.made(client.wait(client.run(recipe, image=PICTURE, mask=MASK)))
    assert picture.recipe
    assert picture.recipe.plain() == recipe.plain()
    assert picture.image().tobytes() == expected.image.tobytes()
    with pytest.raises(InvalidRecipe, match="has a start"):
        client.run(recipe)


def test_pictures_to_begin_with(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "start.png"
    PICTURE.save(path)
    (picture,) = client.generate("a fox", image=path, mask=MASK, strength=0.9, seed=1)
    assert picture.recipe
    assert picture.recipe.start
    assert (picture.recipe.start.image, picture.recipe.start.strength) == (pixels_digest(PICTURE), 0.9)
    assert picture.recipe.mask
    (again,) = client.generate("a fox", start={"image": picture.id, "strength": 0.9})
    assert again.recipe
    larger = client.made(client.wait(client.upscale(picture.id, scale=1.5, strength=0.9)))
    assert larger[0].image().size == (96, 96)


def test_what_a_file_says_is_recalled(client: Client, tmp_path: Path) -> None:
    (picture,) = client.generate("a lilac fox", seed=8)
    recalled = client.recall(picture.save(tmp_path / "fox.png"))
    assert (recalled.source, recalled.recipe) == ("impasto", picture.recipe and picture.recipe.plain())
    (again,) = client.made(client.wait(client.request(recalled.request)))
    assert again.image().tobytes() == picture.image().tobytes()


def test_models_and_what_they_learned_from(client: Client) -> None:
    models = client.models()
    assert [(model.id, model.resolution) for model in models] == [("tiny", 64), ("other", 64)]
    assert client.origin("tiny")["corpus"] is None
    assert client.capabilities()["defaults"]["tiny"]["steps"] == 2


def test_errors_are_those_of_the_package(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="steps"):
        client.submit("a fox", steps=0)
    with pytest.raises(InvalidInput, match="nothing"):
        client.submit("a fox", model="nothing")
    with pytest.raises(NotFound, match="no job"):
        list(client.follow("j00000000000000000000"))
    with pytest.raises(NotFound, match="Cannot read"):
        client.upload(tmp_path / "none.png")
    with pytest.raises(InvalidInput, match="not a picture"):
        client.upload(b"nothing")
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(ServerError, match="impasto serve"):
        nobody.models()


def test_the_client_needs_no_torch() -> None:
    code = "import sys, impasto.client; sys.exit('torch' in sys.modules or 'fastapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
