"""`impasto generate`: pictures from a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

import impasto
from impasto.errors import InvalidInput

if TYPE_CHECKING:
    from impasto.pipeline import Model, Picture
    from impasto.recipe import Recipe


def generate(
    prompt: str,
    *,
    negative_prompt: str | None = None,
    count: Annotated[int, Parameter(alias="-n")] = 1,
    seed: int | None = None,
    size: str | None = None,
    width: int | None = None,
    height: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    sampler: str | None = None,
    schedule: str | None = None,
    model: str = "glyph",
    output: Annotated[Path, Parameter(alias="-o")] = Path(),
    batch: int = 1,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
) -> None:
    """Make pictures from a prompt.

    Each picture becomes a PNG file that carries its recipe; several get a contact sheet too. The files' names go to
    standard output. No file that is already there is overwritten. What you leave out is the model's own.

    Args:
        prompt: what the pictures are to show.
        negative_prompt: what to keep away from.
        count: how many pictures; each has the seed of the one before plus 1.
        seed: of the first picture; left out, it is drawn at random.
        size: of the pictures in pixels: "128", or "128x192" for width and height.
        width: in pixels.
        height: in pixels.
        steps: more take longer and draw finer.
        guidance: how strictly to follow the prompt; 1 is as trained.
        sampler: how the noise comes off, for example euler or dpmpp_2m.
        schedule: how the noise levels are spaced, for example karras.
        model: name of a model, or its folder.
        output: a folder for the pictures, or the name of a PNG file.
        batch: how many pictures to make at a time; more are faster in all, and may change a pixel by 1/255.
        device: cpu, cuda, mps, or auto for the best there is.
        dtype: number format of the networks; left out, float32 on the CPU, and as in the files elsewhere.
    """
    width, height = _sides(size, width, height)
    console = Console(stderr=True)
    with console.status(f"Loading {model} ..."):
        loaded = _load(model, device, dtype)
    recipes = loaded.recipes(
        prompt,
        count,
        negative_prompt=negative_prompt,
        seed=seed,
        width=width,
        height=height,
        steps=steps,
        guidance=guidance,
        sampler=sampler,
        schedule=schedule,
    )
    pictures = []
    for picture in _made(loaded, recipes, batch, console):
        pictures.append(picture)
        path = _free(_path(output, prompt, str(picture.recipe.seed), alone=count == 1))
        picture.save(path)
        print(path)
    if count > 1:
        print(_save_sheet(pictures, _free(_path(output, prompt, "sheet", alone=False))))


def _load(model: str, device: str, dtype: str | None) -> Model:
    from impasto.pipeline import DTYPES  # torch comes in here, after the words were found to be in order

    return impasto.load(model, device=device, dtype=DTYPES[dtype] if dtype else None)


def _sides(size: str | None, width: int | None, height: int | None) -> tuple[int | None, int | None]:
    if size is None:
        return width, height
    if width is not None or height is not None:
        raise InvalidInput("Give either --size, or --width and --height.")
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", size)  # noqa: RUF001 (people type either)
    if not match:
        raise InvalidInput(f"--size {size!r} is not a size. Write 128, or 128x192 for width and height.")
    return int(match[1]), int(match[2] or match[1])


class _SecondsPerStep(ProgressColumn):
    """How long a step takes."""

    def render(self, task: Task) -> Text:
        """Return the text of this column."""
        return Text(f"{1 / task.speed:.2f} s/step" if task.speed else "")


def _made(model: Model, recipes: Sequence[Recipe], batch: int, console: Console) -> Iterator[Picture]:
    from impasto.pipeline import batches

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _SecondsPerStep())
    parts = list(batches(recipes, batch))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(_short(recipes[0].prompt), total=recipes[0].steps * len(parts))
        for part in parts:
            for step in model.steps(part):
                progress.advance(task)
                if step.done:
                    yield from model.pictures(step)


def _short(prompt: str) -> str:
    line = " ".join(prompt.split())
    return line if len(line) <= 40 else f"{line[:39]}…"


def _path(output: Path, prompt: str, ending: str, *, alone: bool) -> Path:
    """Return where a picture goes: the file that was named, or in the folder that was, a name made of the prompt."""
    if output.suffix.lower() != ".png":
        return output / f"{_slug(prompt)}-{ending}.png"
    return output if alone else output.with_stem(f"{output.stem}-{ending}")


def _slug(prompt: str) -> str:
    return re.sub(r"[\W_]+", "-", prompt.lower().replace("'", ""))[:40].strip("-") or "picture"


def _free(path: Path) -> Path:
    """Return `path`, or when it is taken the same with the first free number behind it."""
    number = 2
    candidate = path
    while candidate.exists():
        candidate = path.with_stem(f"{path.stem}-{number}")
        number += 1
    return candidate


def _save_sheet(pictures: Sequence[Picture], path: Path) -> Path:
    from impasto.pictures import png
    from impasto.pictures.sheet import contact_sheet

    recipe = pictures[0].recipe
    captions = [f"seed {picture.recipe.seed}" for picture in pictures]
    facts: dict[str, Any] = {"steps": recipe.steps, "guidance": f"{recipe.guidance:g}"}
    subtitle = ", ".join([recipe.model_name, recipe.sampler, recipe.schedule, *(f"{k} {v}" for k, v in facts.items())])
    images = [picture.image for picture in pictures]
    png.save(contact_sheet(images, captions, title=recipe.prompt, subtitle=subtitle), path)
    return path
