"""A server's parts, each on its own, and one real server for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto.server.database import Database
from impasto.server.jobs import Queue
from impasto.server.models import Shelf
from impasto.server.pictures import Library
from impasto.server.requests import Desk
from impasto.server.settings import Limits
from tests.server.running import TOKEN, Running, model_folder, running


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with two models, the first of which makes pictures of 64 px in 2 steps unless asked otherwise."""
    folder = tmp_path_factory.mktemp("house")
    with running(folder, models=(model_folder(folder), model_folder(folder, "other"))) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose callers have to know `TOKEN`."""
    with running(tmp_path_factory.mktemp("guarded"), token=TOKEN) as server:
        yield server


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/test.sqlite")
    yield database
    database.close()


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


@pytest.fixture
def library(database: Database, tmp_path: Path) -> Library:
    return Library(database, tmp_path)


@pytest.fixture(scope="session")
def shelf(tiny_model: str) -> Shelf:
    return Shelf([tiny_model])


@pytest.fixture
def desk(shelf: Shelf, library: Library) -> Desk:
    return Desk(shelf, library, Limits())
