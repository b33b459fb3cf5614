"""The queue and the library on PostgreSQL, where there is one: its url in IMPASTO_TEST_POSTGRESQL, its content lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto.errors import InvalidInput
from impasto.server.database import Database, metadata
from impasto.server.jobs import Queue
from impasto.server.pictures import Library
from tests.server import test_jobs, test_pictures

URL = os.environ.get("IMPASTO_TEST_POSTGRESQL", "")
pytestmark = pytest.mark.skipif(not URL, reason="IMPASTO_TEST_POSTGRESQL names no database")


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database(URL)
    metadata.drop_all(database.engine)
    database.close()
    database = Database(URL)
    yield database
    database.close()


@pytest.mark.parametrize(
    "check",
    [
        test_jobs.test_jobs_come_by_priority_and_then_by_age,
        test_jobs.test_a_job_moves_before_another_and_takes_its_priority,
        test_jobs.test_a_picture_is_kept_once_in_order_and_by_the_holder_of_the_lease,
        test_jobs.test_what_was_cancelled_keeps_what_it_has_and_takes_no_more,
        test_jobs.test_a_server_that_dies_leaves_its_jobs_to_the_next_one,
        test_jobs.test_alike_jobs_are_taken_together,
        test_jobs.test_an_idempotency_key_is_one_job,
        test_jobs.test_jobs_are_listed_newest_first_in_pages,
        test_jobs.test_many_threads_take_each_job_once,
    ],
)
def test_the_queue(queue: Queue, check: object) -> None:
    assert callable(check)
    check(queue)


@pytest.mark.parametrize(
    "check",
    [
        test_pictures.test_pictures_are_found_by_all_words_in_any_field,
        test_pictures.test_stars_models_and_pages,
        test_pictures.test_old_uploads_make_room_unless_a_job_needs_them,
        test_pictures.test_a_source_is_an_upload_or_a_picture,
    ],
)
def test_the_library(database: Database, tmp_path: Path, check: object) -> None:
    assert callable(check)
    check(database, Library(database, tmp_path))


def test_one_server_a_database(database: Database) -> None:
    assert database.engine.dialect.name == "postgresql"
    with pytest.raises(InvalidInput, match="Another server"):
        Database(URL)
