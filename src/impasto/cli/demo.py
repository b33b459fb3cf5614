"""`impasto demo`: a sheet of pictures with the model that comes with Impasto."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import impasto
from impasto.pictures import png
from impasto.pictures.sheet import contact_sheet

if TYPE_CHECKING:
    from PIL.Image import Image

    from impasto.pipeline import Model

PROMPTS = (
    "red apple",
    "lemon",
    "strawberry",
    "hamburger",
    "mushroom",
    "cactus",
    "sunflower",
    "rose",
    "fox, fluent style",
    "panda",
    "penguin",
    "pig face",
    "frog",
    "owl",
    "octopus",
    "snowman, noto style",
    "automobile",
    "taxi",
    "house",
    "crescent moon",
    "soccer ball",
    "sunglasses",
    "top hat",
    "blue heart on a yellow background",
)


def demo(*, output: Path = Path("demo.png"), model: str = "glyph", seed: int = 1) -> None:
    """Draw a sheet of pictures with Glyph, the model that comes with Impasto.

    Args:
        output: where the sheet goes, a PNG file.
        model: draw with another model: its name or its folder.
        seed: of every picture; another number gives another sheet.
    """
    console = Console()
    started = perf_counter()
    with console.status(f"Loading {model} ..."):
        loaded = impasto.load(model)
    loading = perf_counter() - started
    images = list(_drawn(loaded, seed, console))
    seconds = perf_counter() - started - loading
    png.save(contact_sheet(images, PROMPTS, title=f"Drawn by {loaded.name}", subtitle=f"seed {seed}"), output)
    console.print(f"{output}: {len(images)} pictures in {seconds:.1f} s, after {loading:.1f} s of loading.")


def _drawn(model: Model, seed: int, console: Console) -> Iterator[Image]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(PROMPTS))
        for prompt in PROMPTS:
            progress.update(task, description=prompt)
            (picture,) = model.generate(prompt, seed=seed)
            yield picture.image
            progress.advance(task)
