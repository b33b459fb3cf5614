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
    from impasto.pictures.origin import Commitment
    from impasto.pipeline import Model, Picture
    from impasto.recipe import Recipe

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""By which a file is told from a folder; those of `pictures.formats`."""


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
    format: Literal["png", "jpg", "webp"] | None = None,  # noqa: A002 (what people type)
    metadata: Literal["full", "private", "none"] = "full",
    batch: int = 1,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
) -> None:
    """Make pictures from a prompt.

    Each picture becomes a file that carries its recipe; several get a contact sheet too. The files' names go to
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
        output: a folder for the pictures, or the name of a PNG, JPEG or WebP file.
        format: of the files; left out, that of the output's name, or png. WebP keeps every pixel too, JPEG does not.
        metadata: what a file tells: "full", its whole recipe; "private", a seal of it, whose opening is kept in a file
            beside it for you to show when you want to; "none", nothing.
        batch: how many pictures to make at a time; more are faster in all, and may change a pixel by 1/255.
        device: cpu, cuda, mps, or auto for the best there is.
        dtype: number format of the networks; left out, float32 on the CPU, and as in the files elsewhere.
    """
    width, height = _sides(size, width, height)
    names = _Names(output, prompt, format, metadata, alone=count == 1)
    console = Console(stderr=True)
    with console.status(f"Loading {model} ..."):
        loaded = load(model, device, dtype)
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
        path = names.of(str(picture.recipe.seed))
        commitment = picture.save(path, metadata)
        print(path)
        if commitment:
            print(keep(commitment, path))
    if count > 1:
        print(_save_sheet(pictures, names.sheet(), told=metadata == "full"))


def load(model: str, device: str, dtype: str | None) -> Model:
    """Load a model as the words `--model`, `--device` and `--dtype` say; for the commands that make pictures."""
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


class _Names:
    """Where pictures go: the file that was named, or in the folder that was, names made of the prompt."""

    def __init__(self, output: Path, prompt: str, kind: str | None, metadata: str, *, alone: bool) -> None:
        self._named = output.suffix.lower() in ENDINGS
        if self._named and kind and output.suffix.lower() != f".{kind}":
            raise InvalidInput(f"--output {output} does not end in .{kind}, which --format asks for.")
        self._told, self._alone = metadata == "full", alone
        stem = _slug(prompt) if self._told else "picture"
        self._path = output if self._named else output / f"{stem}.{kind or 'png'}"

    def of(self, ending: str) -> Path:
        """Return the free name for the picture that `ending` tells apart; where nothing may be told, a number does."""
        if (self._named and self._alone) or not self._told:
            return _free(self._path)
        return _free(_extended(self._path, ending))

    def sheet(self) -> Path:
        """Return the free name for the contact sheet."""
        return _free(_extended(self._path, "sheet").with_suffix(".png"))


def _extended(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.stem}-{ending}{path.suffix}")


def keep(commitment: Commitment, path: Path) -> Path:
    """Write what opens the seal of the picture at `path` beside it, and return where."""
    from impasto.files import write_text

    kept = _free(path.with_suffix(".recipe.json"))
    write_text(kept, commitment.canonical().decode("utf-8") + "\n")
    return kept


def _slug(prompt: str) -> str:
    return re.sub(r"[\W_]+", "-", prompt.lower().replace("'", ""))[:40].strip("-") or "picture"


def _free(path: Path) -> Path:
    """Return `path`, or when it is taken the same with the first free number behind it."""
    number = 2
    candidate = path
    while candidate.exists():
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate


def _save_sheet(pictures: Sequence[Picture], path: Path, *, told: bool = True) -> Path:
    from impasto.pictures import png
    from impasto.pictures.sheet import contact_sheet

    images = [picture.image for picture in pictures]
    if not told:
        png.save(contact_sheet(images), path)
        return path
    recipe = pictures[0].recipe
    captions = [f"seed {picture.recipe.seed}" for picture in pictures]
    facts: dict[str, Any] = {"steps": recipe.steps, "guidance": f"{recipe.guidance:g}"}
    subtitle = ", ".join([recipe.model_name, recipe.sampler, recipe.schedule, *(f"{k} {v}" for k, v in facts.items())])
    png.save(contact_sheet(images, captions, title=recipe.prompt, subtitle=subtitle), path)
    return path
