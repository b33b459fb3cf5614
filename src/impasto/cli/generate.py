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

import impasto
from impasto.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

    from impasto.pictures.origin import Commitment
    from impasto.pipeline import Model, Picture
    from impasto.pipeline import Progress as Step
    from impasto.recipe import Recipe

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""By which a file is told from a folder; those of `pictures.formats`."""


@Parameter(name="*")
@dataclass(frozen=True)
class Painting:
    """How to paint within a mask.

    Attributes:
        mask_invert: paint where the mask is black instead.
        mask_blur: radius in pixels of the passage from old to new.
        mask_content: what the masked part begins as.
        mask_area: work on the whole picture, or on the masked part alone at full size.
        mask_padding: pixels around the masked part that are worked on with it.
    """

    mask_invert: bool = False
    mask_blur: float = 4.0
    mask_content: Literal["original", "fill", "noise", "nothing"] = "original"
    mask_area: Literal["whole", "masked"] = "whole"
    mask_padding: int = 32


@Parameter(name="*")
@dataclass(frozen=True)
class SecondPass:
    """How to make a picture once more, larger.

    Attributes:
        hires_upscaler: how it gets there.
        hires_strength: how much of the first pass to give up, above 0 and up to 1.
        hires_steps: of the second pass; left out, as many as the first.
        hires_sampler: of the second pass; left out, that of the first.
        hires_schedule: of the second pass; left out, that of the first.
    """

    hires_upscaler: Literal["latent", "latent-nearest", "latent-bicubic", "lanczos"] = "latent"
    hires_strength: float = 0.7
    hires_steps: int | None = None
    hires_sampler: str | None = None
    hires_schedule: str | None = None


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
    image: Path | None = None,
    strength: float | None = None,
    mask: Path | None = None,
    paint: Painting | None = None,
    outpaint: str | None = None,
    hires: str | None = None,
    second: SecondPass | None = None,
    variation_seed: int | None = None,
    variation_strength: float | None = None,
    seamless: Literal["x", "y", "xy"] | None = None,
    vae_tile: int | None = None,
    noise: Literal["image", "a1111-cpu", "a1111-nv"] | None = None,
    model: str = "glyph",
    output: Annotated[Path, Parameter(alias="-o")] = Path(),
    format: Literal["png", "jpg", "webp"] | None = None,  # noqa: A002 (what people type)
    metadata: Literal["full", "private", "none"] = "full",
    answers: Answering | None = None,
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
        image: a picture to begin with.
        strength: how much of that picture to give up, above 0 and up to 1; left out, 0.75.
        mask: a picture that is white where to paint; the rest of the image stays.
        paint: how to paint within the mask.
        outpaint: pixels to add around the image, for example "left=64,bottom=128"; each a multiple of 8.
        hires: make the picture once more, larger: "2x", or "768x1024" for width and height.
        second: how to make it once more.
        variation_seed: another seed, to vary the picture of the first one a little.
        variation_strength: how far to go from one seed to the other, 0 to 1; left out, 0.1.
        seamless: make the picture's ends meet along an axis: x, y or xy.
        vae_tile: side in pixels of the tiles that large pictures are decoded in, which takes less memory; 512 is usual.
        noise: where noise comes from, to repeat a seed found elsewhere: "a1111-nv" is what A1111 draws on a GPU.
        model: name of a model, or its folder.
        output: a folder for the pictures, or the name of a PNG, JPEG or WebP file.
        format: of the files; left out, that of the output's name, or png. WebP keeps every pixel too, JPEG does not.
        metadata: what a file tells: "full", its whole recipe; "private", a seal of it, whose opening is kept in a file
            beside it for you to show when you want to; "none", nothing.
        answers: what the files are to answer for.
        batch: how many pictures to make at a time; more are faster in all, and may change a pixel by 1/255.
        device: cpu, cuda, mps, or auto for the best there is.
        dtype: number format of the networks; left out, float32 on the CPU, and as in the files elsewhere.
    """
    width, height = _sides(size, width, height)
    names = _Names(output, prompt, format, metadata, alone=count == 1)
    wanted = _Sources(image, strength, mask, paint or Painting(), outpaint)
    answers = answers or Answering()
    if answers.soft_binding and metadata != "full":
        raise InvalidInput(f"--soft-binding marks a picture with its recipe, which --metadata {metadata} keeps back.")
    console = Console(stderr=True)
    with console.status(f"Loading {model} ..."):
        loaded = load(model, device, dtype, verify=not answers.unverified)
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
        seamless=seamless,
        vae_tile=vae_tile,
        noise=noise,
        variation=_variation(variation_seed, variation_strength),
        hires=_second(loaded, hires, second, (width, height)),
        soft_binding="gaussian-shading/1" if answers.soft_binding else None,
        **wanted.choices,
    )
    pictures = []
    for picture in made(loaded, recipes, batch, wanted.images, console):
        pictures.append(picture)
        path = names.of(str(picture.recipe.seed))
        commitment = picture.save(path, metadata)
        if answers.credentials:
            sign(path, picture, loaded, [image] if image else [])
        print(path)
        if commitment:
            print(keep(commitment, path))
    if count > 1:
        sheet = _save_sheet(pictures, names.sheet(), told=metadata == "full")
        if answers.credentials:
            sign_sheet(sheet, pictures[0].recipe)
        print(sheet)


def sign(path: Path, picture: Picture, model: Model, sources: Sequence[Path] = ()) -> None:
    """Put credentials into the file at `path` in which `picture` was saved, by `model`, from `sources`."""
    from impasto.rights import credentials

    receipts = credentials.receipts_of(model.networks)
    credentials.sign(path, credentials.Made(picture.image, picture.recipe, receipts, sources))


def sign_sheet(path: Path, recipe: Recipe) -> None:
    """Put credentials into the sheet at `path`, of pictures by `recipe` and others: that a model made it, not who."""
    from impasto.pictures.formats import open_image
    from impasto.rights import credentials

    credentials.sign(path, credentials.Made(open_image(path), recipe, edited=False))


def load(model: str, device: str, dtype: str | None, *, verify: bool = True) -> Model:
    """Load a model as the words `--model`, `--device` and `--dtype` say; for the commands that make pictures."""
    from impasto.pipeline import DTYPES  # torch comes in here, after the words were found to be in order

    return impasto.load(model, device=device, dtype=DTYPES[dtype] if dtype else None, verify=verify)


def _sides(size: str | None, width: int | None, height: int | None) -> tuple[int | None, int | None]:
    if size is None:
        return width, height
    if width is not None or height is not None:
        raise InvalidInput("Give either --size, or --width and --height.")
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", size)  # noqa: RUF001 (people type either)
    if not match:
        raise InvalidInput(f"--size {size!r} is not a size. Write 128, or 128x192 for width and height.")
    return int(match[1]), int(match[2] or match[1])


class _Sources:
    """The pictures that a person gave, and what a recipe says of them."""

    def __init__(
        self, image: Path | None, strength: float | None, mask: Path | None, paint: Painting, outpaint: str | None
    ) -> None:
        self.images: list[Image] = []
        self.choices: dict[str, Any] = {}
        if image is None:
            if strength is not None or mask or outpaint:
                raise InvalidInput("--strength, --mask and --outpaint are about a picture. Give it with --image.")
            return
        self.choices["start"] = {"image": self._digest(image), "strength": 0.75 if strength is None else strength}
        if outpaint:
            self.choices["extension"] = _margins(outpaint)
        if mask or outpaint:
            names = ("invert", "blur", "content", "area", "padding")
            self.choices["mask"] = {name: getattr(paint, f"mask_{name}") for name in names}
            self.choices["mask"]["image"] = self._digest(mask) if mask else None

    def _digest(self, path: Path) -> str:
        from impasto.pictures.formats import open_image
        from impasto.pictures.origin import pixels_digest

        self.images.append(open_image(path))
        return pixels_digest(self.images[-1])


def _margins(text: str) -> dict[str, int]:
    sides = dict(re.findall(r"(left|top|right|bottom)=(\d+)", text))
    if ",".join(f"{side}={pixels}" for side, pixels in sides.items()) != text.replace(" ", ""):
        raise InvalidInput(f"--outpaint {text!r} is not understood. Write for example left=64,bottom=128.")
    return {side: int(pixels) for side, pixels in sides.items()}


def _variation(seed: int | None, strength: float | None) -> dict[str, Any] | None:
    if seed is None:
        if strength is not None:
            raise InvalidInput("--variation-strength needs --variation-seed, the seed to go to.")
        return None
    return {"seed": seed, "strength": 0.1 if strength is None else strength}


def _second(
    model: Model, hires: str | None, second: SecondPass | None, size: tuple[int | None, int | None]
) -> dict[str, Any] | None:
    if hires is None:
        return None
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)x", hires):
        factor = model.spec.vae.factor
        first = (side or model.spec.resolution for side in size)
        width, height = (int(side * float(match[1])) // factor * factor for side in first)
    elif match := re.fullmatch(r"(\d+)x(\d+)", hires):
        width, height = int(match[1]), int(match[2])
    else:
        raise InvalidInput(f"--hires {hires!r} is not a size. Write 2x, or 768x1024 for width and height.")
    names = ("upscaler", "strength", "steps", "sampler", "schedule")
    said = second or SecondPass()
    return {"width": width, "height": height, **{name: getattr(said, f"hires_{name}") for name in names}}


class _SecondsPerStep(ProgressColumn):
    """How long a step takes."""

    def render(self, task: Task) -> Text:
        """Return the text of this column."""
        return Text(f"{1 / task.speed:.2f} s/step" if task.speed else "")


def made(
    model: Model, recipes: Sequence[Recipe], batch: int, sources: Sequence[Image], console: Console
) -> Iterator[Picture]:
    """Make the pictures of `recipes`, and show how far that is."""
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
                yield from step.made


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
