"""The course of a run as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from impasto.files import written_whole

COLOURS = {"loss": "#1f4e79", "validation": "#c1440e"}


def draw(metrics: Path, output: Path, title: str) -> None:
    """Draw the loss, and below it every validation figure, in `metrics` (JSON lines) over the pictures seen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, wanted only here
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    names = sorted({name for line in lines for name in line if name.startswith("validation_")})
    figure = Figure(figsize=(9, 3 * (1 + len(names))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1 + len(names), 1, squeeze=False)[:, 0]
    figure.suptitle(title)
    for axis, name in zip(axes, ["loss", *names], strict=True):
        points = [(line["samples"], line[name]) for line in lines if name in line]
        colour = COLOURS[name.partition("_")[0]]
        if points:
            axis.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, marker="o" if name != "loss" else None)
        if name == "loss" and all(value > 0 for _, value in points):
            axis.set_yscale("log")
        axis.set_ylabel(name.replace("_", " "))
        axis.grid(visible=True, which="both", alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("pictures seen")
    with written_whole(output) as path:
        figure.savefig(path, format="png", dpi=110)
