"""What LoRA training does, beside diffusers' own example with PEFT: the same noise gives the same losses."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.training import compare_losses


def test_the_losses_are_those_of_the_example(tmp_path: Path) -> None:
    found = compare_losses(argparse.Namespace(rounds=4), tmp_path)
    assert found["steps"] == 4
    assert found["largest relative difference"] < 1e-4
