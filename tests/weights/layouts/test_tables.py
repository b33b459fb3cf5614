"""Configuration tables."""

from __future__ import annotations

from typing import Any

import pytest

from impasto.errors import UnsupportedConfig
from impasto.weights.layouts.tables import ConfigTable, Field


def halved(value: Any, _: Any) -> int:
    if value % 2:
        raise ValueError("only even ones are supported")
    return int(value // 2)


TABLE = ConfigTable(
    header={"_class_name": "Thing"},
    fields={
        "channels": Field("width", 64),
        "double_depth": Field("depth", 8, halved, lambda value, _: 2 * value),
        "depth_again": Field("depth", 4),
        "sizes": Field("sizes", (1, 2), write=lambda value, _: list(value)),
    },
    fixed={"act_fn": "silu", "dropout": 0.0},
    ignored={"sample_size"},
)


def test_reads_what_it_writes() -> None:
    values = {"width": 32, "depth": 5, "sizes": (3, 4)}
    written = TABLE.write(values)
    assert written == {
        "_class_name": "Thing",
        "act_fn": "silu",
        "channels": 32,
        "depth_again": 5,
        "double_depth": 10,
        "dropout": 0.0,
        "sizes": [3, 4],
    }
    assert TABLE.read(written, "config.json") == values


def test_absent_keys_mean_what_the_other_project_takes() -> None:
    assert TABLE.read({}, "config.json") == {"width": 64, "depth": 4, "sizes": (1, 2)}


def test_every_problem_is_listed_at_once() -> None:
    config = {"act_fn": "gelu", "novelty": [1], "double_depth": 7, "depth_again": 3, "sample_size": 64, "sizes": None}
    with pytest.raises(UnsupportedConfig) as caught:
        TABLE.read(config, "unet/config.json")
    assert caught.value.problems == [
        "novelty: unknown (given: [1])",
        "act_fn: 'gelu'; only 'silu' is supported",
        "double_depth: 7; only even ones are supported",
    ]
    assert "unet/config.json" in str(caught.value)


def test_keys_that_contradict_each_other_are_a_problem() -> None:
    with pytest.raises(UnsupportedConfig, match="depth_again: 3 contradicts another key, which gives 4"):
        TABLE.read({"double_depth": 8, "depth_again": 3}, "config.json")
