"""The native API keeps to its own description, whatever is asked of it, and never answers with 500 or above."""

from __future__ import annotations

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
from impasto.server.settings import Settings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
STARTING = "/api/ready"
"""Answers 503 by design while nobody works on the queue, as here."""


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Any:
    data: Path = tmp_path_factory.mktemp("openapi")
    app = create_app(Settings(data=data, models=(tiny_model,), names=("testserver",), device="cpu"))
    found = schemathesis.openapi.from_asgi("/openapi.json", app)
    # What streams has no end, and what waits for pictures would wait for a worker that is not there.
    return found.exclude(path_regex="events$").include(path_regex="^/(api|metrics)")


def tried(schema: Any, examples: int) -> set[str]:
    """Send every operation so many requests, good and bad, and return the operations."""
    seen = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == STARTING:
            continue

        def call(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

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


@pytest.mark.slow
def test_many_requests_to_everything(schema: Any) -> None:
    tried(schema, 150)
