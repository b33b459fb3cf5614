"""`impasto generate`: pictures from a prompt."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from impasto.cli.choices import Detail, Further, Loading, Look, Output, Parts, Source, merged, told
from impasto.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

    from impasto.pictures.infotext import Infotext
    from impasto.pictures.origin import Commitment
    from impasto.pipeline import Model, Picture
    from impasto.pipeline import Progress as Step
    from impasto.recipe import Recipe

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""By which a file is told from a folder; those of `pictures.formats`."""


@Parameter(name="*")
@dataclass(frozen=True)
class Answering:
    """What a picture's file is to answer for.

    Attributes:
        credentials: sign each file with content credentials (C2PA), which tell no more than its metadata do.
        soft_binding: also mark the noise that a picture comes from, so that "impasto verify --mark" may find it when
            its metadata are gone. A seed gives another picture with it than without.
        unverified: use a model that is not what its receipt says.
    """

    credentials: Annotated[bool, Parameter(negative="--no-credentials")] = True
    soft_binding: bool = False
    unverified: bool = False


@Parameter(name="*")
@dataclass(frozen=True)
class Saving:
    """Where pictures go.

    Attributes:
        output: a folder for the pictures, or the name of a PNG, JPEG or WebP file.
        format: of the files; left out, that of the output's name, or png. WebP keeps every pixel too, JPEG does not.
        metadata: what a file tells: "full", its whole recipe; "private", a seal of it, whose opening is kept in a file
            beside it for you to show when you want to; "none", nothing.
        preview: a PNG file that shows the picture as it forms, written anew after every step.
    """

    output: Output = Path()
    format: Literal["png", "jpg", "webp"] | None = None
    metadata: Literal["full", "private", "none"] = "full"
    preview: Path | None = None


def generate(
    prompt: str | None = None,
    *,
    count: Annotated[int, Parameter(alias="-n")] = 1,
    look: Look | None = None,
    source: Source | None = None,
    further: Further | None = None,
    detail: Detail | None = None,
    from_infotext: Path | None = None,
    loading: Loading | None = None,
    parts: Parts | None = None,
    saving: Saving | None = None,
    answers: Answering | None = None,
    batch: int = 1,
) -> None:
    """Make pictures from a prompt.

    Each picture becomes a file that carries its recipe; several get a contact sheet too. The files' names go to
    standard output. No file that is already there is overwritten. What you leave out is the model's own.

    Args:
        prompt: what the pictures are to show.
        count: how many pictures; each has the seed of the one before plus 1.
        look: what every picture has.
        source: what to begin with.
        further: what is done besides.
        detail: how exactly.
        from_infotext: a text as A1111 writes it ("Steps: 20, Sampler: ..."), in a file or a picture, to make its
            picture; what you say besides counts more.
        loading: which model.
        parts: what the model is loaded with.
        saving: where to.
        answers: what the files are to answer for.
        batch: how many pictures to make at a time; more are faster in all, and may change a pixel by 1/255.
    """
    look, source, further, detail = look or Look(), source or Source(), further or Further(), detail or Detail()
    loading, parts, saving, answers = loading or Loading(), parts or Parts(), saving or Saving(), answers or Answering()
    found = told(from_infotext) if from_infotext else None
    prompt = _prompt(prompt, found)
    names = _Names(saving.output, prompt, saving.format, saving.metadata, alone=count == 1)
    if answers.soft_binding and saving.metadata != "full":
        raise InvalidInput(
            f"--soft-binding marks a picture with its recipe, which --metadata {saving.metadata} keeps back."
        )
    images = source.images()
    own = [look.choices(), detail.choices(), source.choices(images)]
    console = Console(stderr=True)
    with console.status(f"Loading {loading.model} ..."):
        loaded = loading.load(parts, second=further.hires_model, verify=not answers.unverified)
    read = merged(_from_text(found, look, images) if found else {}, *own)
    chosen = merged(
        read,
        further.choices(loaded, (read.get("width"), read.get("height")), read.get("hires")),
        parts.choices(),
        {"soft_binding": "gaussian-shading/1" if answers.soft_binding else None},
    )
    recipes = loaded.recipes(prompt, count, **chosen)
    pictures = []
    for picture in made(loaded, recipes, batch, images, console, saving.preview):
        pictures.append(picture)
        path = names.of(_ending(picture.recipe))
        commitment = picture.save(path, saving.metadata)
        if answers.credentials:
            sign(path, picture, loaded, source.files[:1])
        print(path)
        if commitment:
            print(keep(commitment, path))
    if found:
        with console.status("Comparing with what the text says ..."):
            unlike = list(_unlike(found, pictures[0], loaded))
        for line in unlike:
            console.print(Text(f"Warning: {line}", "yellow"), soft_wrap=True)
    if count > 1:
        sheet = _save_sheet(pictures, names.sheet(), told=saving.metadata == "full")
        if answers.credentials:
            sign_sheet(sheet, pictures[0].recipe)
        print(sheet)


def _prompt(prompt: str | None, found: Infotext | None) -> str:
    if prompt is None and found is None:
        raise InvalidInput('What is the picture to show? Give a prompt, as in: impasto generate "a red fox"')
    return found.prompt if prompt is None and found else prompt or ""


def _from_text(found: Infotext, look: Look, images: Sequence[Image]) -> dict[str, Any]:
    """Return what the text says, without what it says of its own sampler where another is asked for."""
    from impasto.pipeline.reproduction import chosen

    about = ("sampler_options", "discard_penultimate", "first_noise") if look.sampler else ()
    about = (*about, "schedule_options") if look.schedule else about
    return {key: value for key, value in chosen(found, images).items() if key not in about}


def _unlike(found: Infotext, picture: Picture, model: Model) -> Iterator[str]:
    """Yield what of an infotext was not followed, and what was used in the place of what it names."""
    from impasto.pictures.infotext import beyond
    from impasto.pipeline.reproduction import other_files, other_model, other_vae

    yield from filter(None, (other_model(found, model), other_vae(found, model)))
    second = picture.recipe.hires and picture.recipe.hires.model
    done = ("Hires checkpoint",) if second else ()
    yield from (f"the text's {key} is not followed here" for key in beyond(found) if key not in done)
    yield from other_files(found, picture)


def _ending(recipe: Recipe) -> str:
    """Return what tells the file of a picture from those made with it."""
    return f"{recipe.seed}-{recipe.draw.row + 1}" if recipe.draw else str(recipe.seed)


def sign(path: Path, picture: Picture, model: Model, sources: Sequence[Path] = ()) -> None:
    """Put credentials into the file at `path` in which `picture` was saved, by `model`, from `sources`."""
    from impasto.rights import credentials, receipts

    made_of = receipts.of(model, picture.recipe)
    credentials.sign(path, credentials.Made(picture.image, picture.recipe, made_of, sources))


def sign_sheet(path: Path, recipe: Recipe) -> None:
    """Put credentials into the sheet at `path`, of pictures by `recipe` and others: that a model made it, not who."""
    from impasto.pictures.formats import open_image
    from impasto.rights import credentials

    credentials.sign(path, credentials.Made(open_image(path), recipe, edited=False))


def load(model: str, device: str, dtype: str | None, *, verify: bool = True, parts: Parts | None = None) -> Model:
    """Load a model as the words `--model`, `--device` and `--dtype` say; for the commands that make pictures."""
    return Loading(model, device, dtype).load(parts or Parts(), verify=verify)  # type: ignore[arg-type]  # a recipe's


class _SecondsPerStep(ProgressColumn):
    """How long a step takes."""

    def render(self, task: Task) -> Text:
        """Return the text of this column."""
        return Text(f"{1 / task.speed:.2f} s/step" if task.speed else "")


def made(
    model: Model,
    recipes: Sequence[Recipe],
    batch: int,
    sources: Sequence[Image],
    console: Console,
    preview: Path | None = None,
) -> Iterator[Picture]:
    """Make the pictures of `recipes`, and show how far that is; in the PNG file `preview` too, where one is named."""
    from impasto.pipeline import batches

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _SecondsPerStep())
    parts = list(batches(recipes, batch))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(_short(recipes[0].prompt), total=None)
        for number, part in enumerate(parts):
            for step in _aloud(model.make(part, sources=sources), console):
                progress.update(task, completed=number * step.steps + step.step, total=step.steps * len(parts))
                if preview:
                    _show(model.preview(step.x0), preview)
                yield from step.made


def _show(small: Sequence[Image], path: Path) -> None:
    """Write the pictures as they are by now side by side to `path`, each latent as a block of four by four pixels."""
    from PIL import Image

    from impasto.files import written_whole

    width, height = small[0].size
    sheet = Image.new("RGB", (width * len(small), height))
    for number, picture in enumerate(small):
        sheet.paste(picture, (number * width, 0))
    with written_whole(path) as temporary:
        sheet.resize((sheet.width * 4, sheet.height * 4), Image.Resampling.NEAREST).save(temporary, "PNG")


def _aloud(steps: Iterator[Step], console: Console) -> Iterator[Step]:
    """Yield `steps`, and say what they warn of, as when half precision fails and float32 takes over."""
    while True:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            step = next(steps, None)
        for warning in caught:
            console.print(f"Warning: {warning.message}", style="yellow", highlight=False)
        if step is None:
            return
        yield step


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
        stem = slug(prompt) if self._told else "picture"
        self._path = output if self._named else output / f"{stem}.{kind or 'png'}"

    def of(self, ending: str) -> Path:
        """Return the free name for the picture that `ending` tells apart; where nothing may be told, a number does."""
        if (self._named and self._alone) or not self._told:
            return free(self._path)
        return free(_extended(self._path, ending))

    def sheet(self) -> Path:
        """Return the free name for the contact sheet."""
        return free(_extended(self._path, "sheet").with_suffix(".png"))


def _extended(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.stem}-{ending}{path.suffix}")


def keep(commitment: Commitment, path: Path) -> Path:
    """Write what opens the seal of the picture at `path` beside it, and return where."""
    from impasto.files import write_text

    kept = free(path.with_suffix(".recipe.json"))
    write_text(kept, commitment.canonical().decode("utf-8") + "\n")
    return kept


def slug(prompt: str) -> str:
    """Return the beginning of `prompt` as a name for files."""
    return re.sub(r"[\W_]+", "-", prompt.lower().replace("'", ""))[:40].strip("-") or "picture"


def free(path: Path) -> Path:
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
