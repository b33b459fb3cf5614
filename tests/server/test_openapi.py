"""The native API keeps to its own description, whatever is asked of it, and never answers with 500 or above."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import schemathesis.specs.openapi._hypothesis  # here, since deep in a call Python 3.11 now and then fails to parse it
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from impasto.server.app import create_app
from impasto.server.service import JobView, Service
from impasto.server.settings import Settings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
STARTING = "/api/ready"
"""Answers 503 by design while nobody works on the queue, as here."""


REFUSED = "/(interrogate|unload-checkpoint|reload-checkpoint)$"
"""Answers 501 by design: what A1111 has and there is none of here."""


@pytest.fixture
def everything(tmp_path: Path, tiny_model: str) -> Any:
    """What an application of its own describes; one begins and ends once, and each test ends it."""
    app = create_app(Settings(data=tmp_path, models=(tiny_model,), names=("testserver",), device="cpu"))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.fixture
def schema(everything: Any) -> Any:
    """Our own API, but for what streams, which has no end."""
    return everything.exclude(path_regex="events$").include(path_regex="^/(api|metrics)")


@pytest.fixture
def foreign(everything: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The APIs of others, whose answers would wait for pictures, and for a worker that is not there."""

    async def at_once(service: Service, job: str, *_: Any, **__: Any) -> JobView:
        return service.cancel(job).model_copy(update={"state": "done"})

    for module in ("openai", "sdapi"):
        monkeypatch.setattr(f"impasto.server.routes.{module}.ended", at_once)
    monkeypatch.setattr(Service, "follow", lambda _, __: nothing())
    return everything.include(path_regex="^/(sdapi|v1|files)").exclude(path_regex=REFUSED)


async def nothing() -> AsyncIterator[JobView]:
    for view in ():
        yield view


def tried(schema: Any, examples: int, checks: Any = CHECKS) -> set[str]:
    """Send every operation so many requests, good and bad, and return the operations."""
    seen = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == STARTING:
            continue

        def call(case: Any) -> None:
            case.call_and_validate(checks=checks)

        bounded = settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        for mode in schemathesis.GenerationMode:
            strategy = operation.as_strategy(generation_mode=mode)
            with suppress(Unsatisfiable):  # nothing can be said wrongly where nothing is said
                bounded(given(case=strategy)(call))()
        seen.add(f"{operation.method.upper()} {operation.path}")
    return seen


def test_a_few_requests_to_everything(schema: Any) -> None:
    assert {"POST /api/jobs", "POST /api/grids", "GET /api/pictures", "PATCH /api/jobs/{job}"} <= tried(schema, 3)


def test_a_few_requests_in_the_languages_of_others(foreign: Any) -> None:
    assert {"POST /sdapi/v1/txt2img", "POST /v1/images/edits"} <= tried(foreign, 2, [not_a_server_error])


@pytest.mark.slow
def test_many_requests_to_everything(schema: Any) -> None:
    tried(schema, 150)


@pytest.mark.slow
def test_many_requests_in_the_languages_of_others(foreign: Any) -> None:
    tried(foreign, 60, [not_a_server_error])
