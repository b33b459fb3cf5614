"""A live page of a model being taught: how far it is, how the loss goes, what it measures on pictures kept out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from impasto.allocator import keep_freed

if TYPE_CHECKING:
    from impasto.training.loop import Tick
    from impasto.training.runs import Preparing

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60  # of the curve, in characters
REFRESH = 0.2  # seconds
SECONDS_BETWEEN_LINES = 30


class Page:
    """What is shown of a run.

    Attributes:
        title: over it.
        output: folder of the run.
    """

    def __init__(self, title: str, output: Path) -> None:
        self.title, self.output = title, output
        self._losses: list[float] = []
        self._tick: Tick | None = None
        self._preparing: Preparing | None = None

    def take(self, event: Tick | Preparing) -> None:
        """Take in what happened."""
        from impasto.training.loop import Tick

        if isinstance(event, Tick):
            self._tick = event
            self._losses.append(event.loss)
        else:
            self._preparing = event

    def __rich__(self) -> Panel:
        """Return the page as it is now."""
        if self._tick is None:
            return Panel(self._before(), title=self.title, width=80)
        tick, rows = self._tick, Table.grid(padding=(0, 2))
        rows.add_column(style="dim")
        rows.add_column()
        rows.add_row("step", f"{tick.progress.step:,} of {tick.steps:,}   {left(tick)}")
        rows.add_row("", ProgressBar(total=tick.steps, completed=tick.progress.step, width=WIDTH))
        rows.add_row("loss", f"{smooth(self._losses):.4f}   learning rate {tick.learning_rate:.2g}")
        rows.add_row("", Text(curve(self._losses, WIDTH), style="cyan"))
        for name, value in tick.validation.items():
            rows.add_row(name.replace("_", " "), f"{value:.4f}   at the same noise each time")
        rows.add_row("speed", f"{tick.progress.samples / max(tick.progress.seconds, 1e-9):.2f} pictures a second")
        if sheets := sorted((self.output / "sheets").glob("step-*.png")):
            rows.add_row("sheet", str(sheets[-1]))
        return Panel(rows, title=self.title, width=80)

    def _before(self) -> Group:
        what = self._preparing
        counted = "" if what is None or what.total is None else f"  {what.done:,} of {what.total:,}"
        lines: list[Text | ProgressBar] = [Text(f"{what.what if what else 'starting'}{counted}")]
        if what and what.total:
            lines.append(ProgressBar(total=what.total, completed=what.done, width=WIDTH))
        return Group(*lines)


def drive(news: Iterator[Tick | Preparing], page: Page) -> None:
    """Run a training to its end: on a terminal as a live page, elsewhere with a line now and then."""
    keep_freed()
    console = Console(stderr=True)
    if not first():
        for _ in news:
            pass
        return
    if not console.is_terminal:
        _told(news, page, console)
        return
    with Live(page, console=console, auto_refresh=False) as live:
        shown = 0.0
        for event in news:
            page.take(event)
            if time.monotonic() - shown > REFRESH:
                shown = time.monotonic()
                live.refresh()
        live.refresh()


def first() -> bool:
    """Return whether this is the process, of those that torch's launcher started, that speaks."""
    return os.environ.get("RANK", "0") == "0"


def _told(news: Iterator[Tick | Preparing], page: Page, console: Console) -> None:
    from impasto.training.loop import Tick

    said, what = 0.0, ""
    for event in news:
        page.take(event)
        new = not isinstance(event, Tick) and event.what != what
        if not new and time.monotonic() - said < SECONDS_BETWEEN_LINES:
            continue
        said = time.monotonic()
        if isinstance(event, Tick):
            line = f"step {event.progress.step:,} of {event.steps:,}  loss {event.loss:.4f}  {left(event)}"
        else:
            line = what = event.what
        console.print(line, highlight=False)


def left(tick: Tick) -> str:
    """Return how long a run still takes, in words."""
    seconds = (tick.steps - tick.progress.step) * tick.progress.seconds / max(tick.progress.step, 1)
    return f"{timedelta(seconds=round(seconds))} left"


def smooth(losses: list[float], last: int = 20) -> float:
    """Return the mean of the `last` losses."""
    recent = losses[-last:]
    return sum(recent) / len(recent)


def curve(losses: list[float], width: int) -> str:
    """Return the course of `losses` in at most `width` characters, each the mean of as many steps."""
    count = min(width, len(losses))
    edges = [place * len(losses) // count for place in range(count + 1)]
    means = [sum(losses[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    return "".join(BARS[int((mean - low) / (high - low or 1) * (len(BARS) - 1))] for mean in means)
