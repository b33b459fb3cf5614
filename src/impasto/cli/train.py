"""`impasto train`: a plan, a corpus, and a live view of what is being learned."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from impasto.training.loop import Tick

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

    _drive(runs.autoencoder(plan, corpus, output, start, device))


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

    _drive(runs.model(plan, corpus, autoencoder, output, start, device))


def _drive(ticks: Iterator[Tick]) -> None:
    """Run a training to its end, with a live line of progress on a terminal and plain lines elsewhere."""
    console = Console(stderr=True)
    columns = (
        TextColumn("step {task.completed:,.0f} of {task.total:,.0f}"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=300) as bar:
        task, said = bar.add_task("loading", total=None), 0.0
        for tick in ticks:
            line = f"loss {tick.loss:.4f}  {tick.samples_per_second:.1f} pictures/s"
            bar.update(task, total=tick.steps, completed=tick.progress.step, description=line)
            if not console.is_terminal and time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                left = (tick.steps - tick.progress.step) * tick.progress.seconds / tick.progress.step
                when = f"{timedelta(seconds=round(left))} left"
                console.print(f"step {tick.progress.step:,} of {tick.steps:,}  {line}  {when}", highlight=False)
