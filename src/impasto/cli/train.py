"""`impasto train`: a plan, a corpus, and a live view of what is being learned."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from impasto.training.loop import Tick
    from impasto.training.runs import Preparing

SECONDS_BETWEEN_LINES = 30

app = App(name="train", help="Train a model from a plan.")

Corpus = Annotated[Path, Parameter(help="Folder of the corpus to learn from (see `impasto corpus build`).")]
Output = Annotated[
    Path, Parameter(name=["--output", "-o"], help="Folder of the run; a run that was stopped goes on from there.")
]
Device = Annotated[str, Parameter(help="Where to compute: cpu, cuda, mps.")]
Start = Annotated[Path | None, Parameter(help="Weights that training goes on from; the plan names their digest.")]


@app.command
def autoencoder(plan: Path, *, corpus: Corpus, output: Output, start: Start = None, device: Device = "cpu") -> None:
    """Train an autoencoder: pictures to latents and back.

    The run folder gets `states/`, `metrics.jsonl`, `loss.png`, `sheets/` and, at the end, `vae/` with its receipt.

    Parameters
    ----------
    plan
        TOML file that says what is learned, and how (docs/training.md).
    """
    from impasto.training import runs

    _drive(runs.autoencoder(plan, corpus, output, start, device), output, "vae")


@app.command
def model(
    plan: Path,
    *,
    corpus: Corpus,
    autoencoder: Annotated[Path, Parameter(help="Folder of a finished autoencoder run.")],
    output: Output,
    start: Start = None,
    device: Device = "cpu",
) -> None:
    """Train text encoder and UNet on the latents of a finished autoencoder.

    The run folder gets `states/`, `metrics.jsonl`, `loss.png`, `sheets/` and, at the end, `model/`: the whole model as
    a folder that diffusers reads too, with receipt and attribution.

    Parameters
    ----------
    plan
        TOML file that says what is learned, and how (docs/training.md).
    """
    from impasto.training import runs

    _drive(runs.model(plan, corpus, autoencoder, output, start, device), output, "model")


def _drive(news: Iterator[Tick | Preparing], output: Path, result: str) -> None:
    """Run a training to its end, with a live line of progress on a terminal and plain lines elsewhere."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=300) as bar:
        task, said = bar.add_task("starting", total=None), -math.inf
        for event in news:
            done, total, line = _told(event)
            bar.update(task, total=total, completed=done, description=line)
            if not console.is_terminal and time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                console.print(f"{line}{_counted(done, total)}{_left(event)}", highlight=False)
    console.print(
        f"{output / result}: done. What it can do is in {output / 'sheets'}.", highlight=False, soft_wrap=True
    )


def _told(event: Tick | Preparing) -> tuple[int, int | None, str]:
    """Return how much is done, of how much, and the rest in words."""
    from impasto.training.runs import Preparing

    if isinstance(event, Preparing):
        return event.done, event.total, event.what
    rate = event.progress.samples / max(event.progress.seconds, 1e-9)
    return event.progress.step, event.steps, f"loss {event.loss:.4f}  {rate:.1f} pictures/s"


def _counted(done: int, total: int | None) -> str:
    return "" if total is None else f"  {done:,} of {total:,}"


def _left(event: Tick | Preparing) -> str:
    from impasto.training.runs import Preparing

    if isinstance(event, Preparing):
        return ""
    seconds = (event.steps - event.progress.step) * event.progress.seconds / event.progress.step
    return f"  {timedelta(seconds=round(seconds))} left"
