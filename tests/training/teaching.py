"""A tiny model and a few pictures to teach it: what the tests of teaching share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from impasto.corpus.statement import Statement
from impasto.training.loop import Tick
from impasto.training.specialise import Request, specialise
from impasto.training.teaching import PLANS, TeachingPlan
from impasto.weights.checkpoint import About, Settings
from impasto.weights.load import save_folder
from tests.training import tiny as inline
from tests.weights import tiny

SIZES = ((64, 64), (100, 60), (60, 100), (80, 80))


def model(folder: Path) -> Path:
    """Write the tiny model into `folder`."""
    save_folder(folder, tiny.networks(), About(name="tiny", settings=Settings(steps=1, guidance=2.0)))
    return folder


def pictures(folder: Path) -> Path:
    """Write a few pictures into `folder`, one with a caption, one with a mask."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(SIZES):
        picture = Image.new("RGB", size, "white")
        ImageDraw.Draw(picture).ellipse((8, 8, 50, 50), fill=(200, 40 * number, 30))
        picture.save(folder / f"p{number}.png")
    (folder / "p0.txt").write_text("a fox, seen from the side")
    mask = Image.new("L", SIZES[0], 0)
    mask.paste(255, (0, 0, 32, 64))
    mask.save(folder / "p0.mask.png")
    return folder


def plan(kind: str, **changes: Any) -> TeachingPlan:
    """Return a plan of four steps."""
    data = {
        "name": "result",
        "stages": [{"size": 64, "batch": 2, "steps": 4}],
        "optimiser": {"learning_rate": 1e-3, "warmup": 0},
        "wording": {"subject": "zwx fox"},
        "samples": {"prompts": ["zwx fox"], "steps": 1},
        "checkpoint_every": 2,
        "sheet_every": 4,
        "log_every": 2,
    }
    return PLANS[kind].parse({**data, **changes}, "the plan")


def toml(asked: TeachingPlan) -> str:
    """Return a plan as a TOML file has it."""
    return inline.toml(asked.model_dump(mode="json", exclude_none=True))


def teach(work: Path, output: str, asked: TeachingPlan, statement: Statement | None = None) -> list[Tick]:
    """Teach the model in `work / "model"` the pictures in `work / "pictures"`, and return the steps."""
    request = Request(asked, work / "pictures", work / "model", work / output, statement or Statement())
    return [event for event in specialise(request) if isinstance(event, Tick)]
