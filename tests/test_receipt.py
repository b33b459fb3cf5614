"""Receipts: validation, the canonical round trip, what belongs to the essence."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from impasto.errors import InvalidInput
from impasto.receipt import CorpusUse, Environment, Parent, PlanUse, Receipt

ZERO, ONE = "sha256:" + "0" * 64, "sha256:" + "1" * 64
START = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def receipt(**changes: Any) -> Receipt:
    fields: dict[str, Any] = {
        "kind": "base",
        "name": "glyph",
        "identity": ONE,
        "components": {"unet": ZERO, "vae": ONE},
        "parents": (Parent(name="autoencoder", identity=ZERO, role="autoencoder"),),
        "corpora": (CorpusUse(root=ZERO, selection=ONE, rows=2300, policy=ZERO),),
        "plans": {"model": PlanUse.of({"steps": 10, "rate": 1e-3, "captions": ["a", None]})},
        "seeds": {"weights": 0, "batches": 1},
        "code": "0.1.0",
        "licence": "Apache-2.0",
        "started": START,
        "finished": START + timedelta(hours=3),
        "environment": Environment(python="3.11", torch="2.13", threads=2),
    }
    return Receipt(**{**fields, **changes})


def test_canonical_round_trip() -> None:
    again = Receipt.parse(receipt().plain(), "receipt.json")
    assert again == receipt()
    assert again.digest == receipt().digest


def test_essence_leaves_out_when_and_where() -> None:
    elsewhere = receipt(started=None, finished=None, environment=Environment(torch="3.0"))
    assert elsewhere.essence == receipt().essence
    assert elsewhere.digest != receipt().digest
    assert receipt(seeds={"weights": 1}).essence != receipt().essence


def test_a_plan_that_is_not_its_digest_is_refused() -> None:
    plain = receipt().plain()
    plain["plans"]["model"]["plan"]["steps"] = 11
    with pytest.raises(InvalidInput, match=r"plans\.model"):
        Receipt.parse(plain, "receipt.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "picture"},
        {"finished": START - timedelta(seconds=1)},
        {"started": START.replace(tzinfo=None), "finished": None},
        {"components": {"unet": "abc"}},
        {"code": ""},
        {"mood": "good"},
    ],
)
def test_refusals(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"receipt\.json"):
        Receipt.parse({**receipt().plain(), **changes}, "receipt.json")
