"""The worker, in this process: what it says while it makes pictures, and that one failure is one failure."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import impasto
from impasto.adapters.embeddings import Embedding, write_embedding
from impasto.adapters.lora import write_adapter
from impasto.adapters.metadata import described, described_embedding
from impasto.errors import PictureFailed
from impasto.pictures import metadata
from impasto.pictures.formats import open_image
from impasto.pipeline import Model
from impasto.receipt import CorpusUse, Receipt
from impasto.recipe import Recipe
from impasto.rights import credentials, identity, receipts
from impasto.rights.verify import picture
from impasto.server.adapters import offered, thumbnail
from impasto.server.models import Shelf
from impasto.server.pictures import Library
from impasto.server.places import picture_id, place
from impasto.server.requests import Desk, GenerateRequest, shared
from impasto.server.settings import Limits
from impasto.server.worker import Item, ModelPlace, Setup, Task, Worker
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import save_folder
from tests.adapters import random
from tests.server.running import model_folder
from tests.weights import tiny


class Pipe:
    """Stands where the server would listen."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.when: Callable[[dict[str, Any]], None] = lambda _: None

    def send_bytes(self, data: bytes) -> None:
        self.said.append(json.loads(data))
        self.when(self.said[-1])

    def told(self, what: str) -> list[dict[str, Any]]:
        return [message for message in self.said if message["said"] == what]


@pytest.fixture(scope="module")
def model(tiny_model: str) -> Model:
    return impasto.load(Path(tiny_model))


@pytest.fixture(scope="module")
def home(tiny_model: str, model: Model) -> ModelPlace:
    return ModelPlace(identity=model.digest, path=Path(tiny_model))


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


@pytest.fixture
def worker(pipe: Pipe, tmp_path: Path, model: Model, home: ModelPlace) -> Worker:
    setup = Setup(folder=tmp_path, sign=False, preview_seconds=None)
    return Worker(pipe, setup, model, home)  # type: ignore[arg-type]


def item(job: str, number: int, recipe: Recipe, **more: Any) -> Item:
    return Item(job=job, number=number, recipe=recipe.plain(), alike=shared(recipe), **more)


def made(worker: Worker, item_: tuple[str, int]) -> Path:
    return place(worker.setup.folder, picture_id(*item_), "png")


def test_alike_pictures_are_made_together_and_are_those_made_apart(
    worker: Worker, pipe: Pipe, model: Model, home: ModelPlace
) -> None:
    recipes = [model.recipe(f"fox {k}", seed=k, steps=3) for k in range(4)]
    recipes.append(model.recipe("an owl", seed=9, steps=4))
    items = [item("a" if k < 2 else "b", k % 2, recipe) for k, recipe in enumerate(recipes[:4])]
    items.append(item("c", 0, recipes[4]))
    worker._do(Task(lease="l", model=home, batch=3, items=tuple(items)))
    steps = [message for message in pipe.told("step") if message["step"] == 1]
    assert [message["jobs"] for message in steps] == [{"a": 2, "b": 1}, {"b": 1}, {"c": 1}]
    assert [(said["job"], said["number"]) for said in pipe.told("made")] == [(i.job, i.number) for i in items]
    for each, recipe in zip(items, recipes, strict=True):
        path = made(worker, (each.job, each.number))
        assert metadata.read(path).recipe == recipe
        (alone,) = [picture for step in model.make(recipe) for picture in step.made]
        apart = np.asarray(open_image(path)).astype(int) - np.asarray(alone.image)
        assert abs(apart).max() <= 1


def test_one_that_fails_takes_no_other_with_it(
    worker: Worker, pipe: Pipe, model: Model, home: ModelPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = worker._keep

    def failing(task: Task, item_: Item, picture: Any) -> None:
        if item_.job == "b":
            raise PictureFailed(f"no numbers in {home.path}")
        keep(task, item_, picture)

    monkeypatch.setattr(worker, "_keep", failing)
    recipe = model.recipe("a fox", seed=1)
    items = tuple(item(job, number, recipe) for job, number in (("a", 0), ("b", 0), ("b", 1), ("c", 0)))
    worker._do(Task(lease="l", model=home, batch=4, items=items))
    (failed,) = pipe.told("failed")
    assert (failed["job"], failed["code"], failed["message"]) == ("b", "picture_failed", "no numbers in the model")
    assert {said["job"] for said in pipe.told("made")} == {"a", "c"}


def test_what_nobody_foresaw_is_told_to_the_log_alone(
    worker: Worker, pipe: Pipe, model: Model, home: ModelPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("at /home/somebody")

    monkeypatch.setattr(worker, "_keep", broken)
    worker._do(Task(lease="l", model=home, items=(item("a", 0, model.recipe("a fox")),)))
    (failed,) = pipe.told("failed")
    assert failed["code"] == "unexpected"
    assert "somebody" not in failed["message"]
    assert "somebody" in failed["details"]
    broken_memory = RuntimeError("DefaultCPUAllocator: can't allocate memory")
    monkeypatch.setattr(worker, "_keep", lambda *_: (_ for _ in ()).throw(broken_memory))
    worker._do(Task(lease="m", model=home, items=(item("b", 0, model.recipe("a fox")),)))
    assert pipe.told("failed")[-1]["code"] == "out_of_memory"
    assert worker.model is None  # and its memory is free


def test_a_cancelled_job_stops_between_steps(worker: Worker, pipe: Pipe, model: Model, home: ModelPlace) -> None:
    def cancel(message: dict[str, Any]) -> None:
        if message["said"] == "step" and message["step"] == 2:
            worker.cancelled.add(("a", "l"))

    pipe.when = cancel
    recipe = model.recipe("a fox", steps=9)
    items = (item("a", 0, recipe), item("a", 1, recipe), item("b", 0, model.recipe("an owl", steps=2)))
    worker._do(Task(lease="l", model=home, items=items))
    assert [message["step"] for message in pipe.told("step") if "a" in message["jobs"]] == [1, 2]
    assert [said["job"] for said in pipe.told("made")] == ["b"]


def test_of_a_batch_the_cancelled_are_left_out(worker: Worker, pipe: Pipe, model: Model, home: ModelPlace) -> None:
    pipe.when = lambda message: worker.cancelled.add(("a", "l")) if message["said"] == "step" else None
    recipe = model.recipe("a fox", steps=3)
    worker._do(Task(lease="l", model=home, batch=2, items=(item("a", 0, recipe), item("b", 0, recipe))))
    assert [said["job"] for said in pipe.told("made")] == ["b"]
    assert not made(worker, ("a", 0)).exists()


def test_previews_come_at_their_pace(worker: Worker, pipe: Pipe, model: Model, home: ModelPlace) -> None:
    recipe = model.recipe("a fox", steps=4, width=96, height=64)
    for pace, count in ((None, 0), (0.0, 3), (1e6, 1)):
        pipe.said.clear()
        worker.setup = worker.setup.model_copy(update={"preview_seconds": pace})
        worker._do(Task(lease="l", model=home, items=(item("a", 0, recipe),)))
        previews = pipe.told("preview")
        assert len(previews) == count
        for preview in previews:
            with Image.open(io.BytesIO(base64.b64decode(preview["jpeg"]))) as image:
                assert (image.format, image.size) == ("JPEG", (512, 341))


def test_another_model_takes_the_place_of_the_first(worker: Worker, pipe: Pipe, model: Model, tmp_path: Path) -> None:
    other = Path(model_folder(tmp_path / "models", "other"))
    digest = impasto.load(other).digest
    recipe = model.recipe("a fox").model_copy(update={"model_digest": digest, "model_name": "other"})
    worker._do(Task(lease="l", model=ModelPlace(identity=digest, path=other), items=(item("a", 0, recipe),)))
    assert [said["digest"] for said in pipe.told("loaded")] == [digest]
    assert pipe.told("made")
    assert worker.model.name == "other"


def test_a_sheet_of_pictures_that_are_gone_is_not_made(worker: Worker, pipe: Pipe, home: ModelPlace) -> None:
    sheet = {"columns": ["a"], "rows": [], "title": "", "subtitle": "", "cells": [0]}
    worker._do(Task(lease="l", model=home, items=(Item(job="a", number=1, sheet=sheet),)))
    (failed,) = pipe.told("failed")
    assert "deleted" in failed["message"]


def test_adapters_are_offered_asked_for_and_used(tmp_path: Path, tiny_model: str, library: Library, pipe: Pipe) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    write_adapter(random.adapter(name="ink"), folder / "ink.safetensors")
    (folder / "ink.json").write_text('{"activation text": "inky"}')
    Image.new("RGB", (900, 600), "red").save(folder / "ink.preview.png")
    (folder / "broken.safetensors").write_bytes(b"no weights")
    shelf = Shelf([tiny_model], adapters=[str(folder)])
    known = shelf.default.paper.library
    broken, ink = offered(known)
    assert (ink.id, ink.kind, ink.trigger, ink.thumbnail) == ("ink", "lora", "inky", True)
    assert (broken.id, broken.thumbnail) == ("broken", False)
    with Image.open(io.BytesIO(thumbnail(known, "ink"))) as small:
        assert (small.format, small.size) == ("WEBP", (320, 213))

    desk = Desk(shelf, library, Limits())
    said = {"prompt": "a fox", "seed": 1, "adapters": [{"id": "ink", "weight": 0.5}]}
    chosen = Recipe.model_validate(desk.generate(GenerateRequest.model_validate(said)).recipes[0])
    called = Recipe.model_validate(desk.generate(GenerateRequest(prompt="a fox <lora:ink:0.5>", seed=1)).recipes[0])
    assert chosen.adapters == called.adapters
    model = impasto.load(Path(tiny_model), adapters=[folder])
    assert chosen == model.recipe("a fox", seed=1, adapters=[{"name": "ink", "weight": 0.5}])

    setup = Setup(folder=tmp_path / "made", sign=False, preview_seconds=None, adapters=(str(folder),))
    place_ = ModelPlace(identity=model.digest, path=Path(tiny_model))
    worker = Worker(pipe, setup)  # type: ignore[arg-type]
    worker._do(Task(lease="l", model=place_, items=(item("a", 0, chosen),)))
    plain = model.generate("a fox", seed=1)[0].image
    assert pipe.told("failed") == []
    with Image.open(made(worker, ("a", 0))) as inked:
        assert not np.array_equal(np.asarray(inked), np.asarray(plain))


def test_a_credential_names_the_receipts_of_all_that_a_picture_was_made_with(tmp_path: Path, pipe: Pipe) -> None:
    place_ = model_with_receipt(tmp_path / "model")
    (tmp_path / "parts").mkdir()
    spec = tiny.networks().spec
    own = Receipt(kind="adapter", name="ink", code="impasto 0", corpora=(LEARNED,))
    write_adapter(described(random.adapter(name="ink"), spec, receipt=own), tmp_path / "parts" / "ink.safetensors")
    word = Embedding("wash", torch.ones(1, spec.text.hidden_size))
    said = Receipt(kind="embedding", name="wash", code="impasto 0")
    write_embedding(described_embedding(word, spec, receipt=said), tmp_path / "parts" / "wash.safetensors")
    parts = {kind: (str(tmp_path / "parts" / f"{name}.safetensors"),) for kind, name in PARTS.items()}
    loaded = impasto.load(place_.path, **parts)
    recipe = loaded.recipe("a fox in wash <lora:ink:0.5>", seed=1)
    worker = Worker(pipe, Setup(folder=tmp_path / "made", preview_seconds=None, **parts))  # type: ignore[arg-type]
    worker._do(Task(lease="l", model=place_, items=(item("a", 0, recipe),)))
    assert not pipe.told("failed") + pipe.told("unsigned")
    found = credentials.read(made(worker, ("a", 0)))
    assert found
    assert found.generation
    names = {receipt.digest: receipt.name for receipt in receipts.of(loaded, recipe)}
    assert [names[digest] for digest in found.generation.receipts] == ["tiny", "ink", "wash"]
    assert found.generation.corpora == (LEARNED.root,)
    assert picture(made(worker, ("a", 0)), identity.trusted()).state == "holds"


PARTS = {"adapters": "ink", "embeddings": "wash"}
LEARNED = CorpusUse(**dict.fromkeys(("root", "selection", "policy"), "sha256:" + "1" * 64), rows=3)


def model_with_receipt(folder: Path) -> ModelPlace:
    """Write a tiny model that says what it was made from."""
    about = About(name="tiny", settings=Settings(steps=2))
    save_folder(folder, tiny.networks(), about, receipt=Receipt(kind="base", name="tiny", code="impasto 0"))
    return ModelPlace(identity=impasto.load(folder).digest, path=folder)
