"""The comparison with diffusers on a checkpoint of full size: what it prints, and that the pictures are the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import sd14

TAKEN = {"load": (2.0, 1.0), "first": (8.0, 4.0), "step": (3.0, 2.0), "decode": (4.0, 3.0), "peak": 2.0}


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, shade in (("impasto", 3), ("diffusers", 5)):
        np.save(tmp_path / f"{side}.npy", np.full((2, 2, 3), shade, np.uint8))
    slower = {part: tuple(2 * t for t in taken) if isinstance(taken, tuple) else taken for part, taken in TAKEN.items()}
    rounds = {
        "impasto": [{**TAKEN, "pixels": tmp_path / "impasto.npy"}, {**slower, "pixels": tmp_path / "impasto.npy"}],
        "diffusers": [{**slower, "pixels": tmp_path / "diffusers.npy"}],
    }
    sd14.report(rounds, None)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["load", "2.00s", "4.00s", "0.50", "0.50"]
    assert lines[5] == ["peak", "2.00GB", "2.00GB", "1.00"]
    assert lines[6][:2] == ["pixels", "2"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("source", ["folder", "file"])
def test_the_same_picture_as_diffusers_in_less_memory(source: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """512x512, guidance 7.5, four steps of euler, float32: at most 2 of 255 apart."""
    folder = tmp_path_factory.getbasetemp() / "sd14"
    words = [sys.executable, sd14.__file__, "--steps", "4", "--source", source, "--folder", str(folder)]
    run = subprocess.run([*words, "--part", "pixels", "--part", "peak"], capture_output=True, text=True, check=True)
    pixels, ratio = re.search(r"pixels +(\d+)", run.stdout), re.search(r"peak .* ([\d.]+)\n", run.stdout)
    assert pixels is not None
    assert ratio is not None
    assert int(pixels[1]) <= 2
    assert float(ratio[1]) <= 1.0
