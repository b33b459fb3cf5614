from __future__ import annotations

import pytest
from pydantic import ValidationError

from impasto.corpus.record import COLUMNS, WORK_COLUMNS, Row, Signal, flatten, unflatten
from tests.corpus.icons import row


def test_flat_columns_give_the_row_back() -> None:
    signal = Signal(kind="robots.txt", raw="", verdict="absent", seen_at="2026-01-01T00:00:00Z")
    given = row(signals=(signal,), repeat=3, split="held-out", category="Animals")
    assert Row.model_validate(unflatten(flatten(given))) == given


def test_every_field_has_a_column() -> None:
    paths = {path[0] for path in COLUMNS.values()}
    assert paths == set(Row.model_fields)
    assert not {"image", "split", "repeat"} & {path[0] for path in WORK_COLUMNS.values()}


def test_a_leaf_is_canonical_and_has_no_none() -> None:
    given = row()
    assert given.leaf() == row().leaf()
    assert b"null" not in given.leaf()
    assert given.leaf() != row(concept="owl").leaf()


def test_attribution_names_title_maker_licence_and_source() -> None:
    assert row().attribution == "“fox” by Ada, MIT, from noto in p@1"
    assert row().key == "noto:fox"


def test_rows_are_closed() -> None:
    with pytest.raises(ValidationError):
        Row.model_validate({**row().plain(), "surprise": 1})
