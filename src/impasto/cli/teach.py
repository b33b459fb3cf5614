"""`impasto train lora`, `dreambooth` and `textual-inversion`: a folder of pictures becomes something to share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from impasto.training.specialise import Request

Optimiser = Literal["adamw", "muon", "adamw-8bit", "adafactor", "prodigy", "schedule-free"]
Modules = Literal["attention", "cross_attention", "feed_forward", "projections", "convolutions", "time"]


@Parameter(name="*")
@dataclass(frozen=True)
class Whose:
    """Whose pictures they are. Without a word, they are of unknown origin, and everything made from them says so.

    Attributes:
        i_made_these: you made the pictures.
        licence: SPDX identifier of the licence that you have them under; needs --maker.
        maker: who made them.
    """

    i_made_these: bool = False
    licence: str | None = None
    maker: str | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class What:
    """What is to be learned.

    Attributes:
        subject: what the pictures show, a word that nothing has yet and what it is: "zwx fox".
        style: what to call the style that they have.
        plan: TOML file in place of the preset; what else is said stands above it.
        model: to teach: a name, or the path of a folder or file.
        output: folder of the run; one that was stopped goes on from there.
        name: of the result; by itself the output folder's.
        device: where to compute: cpu, cuda, mps.
        sample: a prompt for the sheets; may be given several times.
    """

    subject: str | None = None
    style: str | None = None
    plan: Path | None = None
    model: str = "glyph"
    output: Annotated[Path | None, Parameter(alias="-o")] = None
    name: str | None = None
    device: str = "cpu"
    sample: tuple[str, ...] = ()


@Parameter(name="*")
@dataclass(frozen=True)
class How:
    """How it is learned; what is left out is the preset's.

    Attributes:
        steps: how many.
        batch: pictures at a time.
        accumulate: batches a step; what several processes share.
        size: side in pixels of a square of the pictures' area.
        learning_rate: at its highest; prodigy takes 1.
        optimiser: how the weights follow the gradient.
        decay: course of the learning rate.
        warmup: steps over which it rises.
        seed: of every draw.
        precision: of the arithmetic.
        checkpointing: less memory for more time.
        min_snr: bound of min-SNR weighting.
        offset_noise: strength of noise that is the same all over; 0.1 is usual.
        ema: decay of a running mean of what learns.
        repeats: how often each picture is seen in an epoch.
        held_out: share of the pictures that is kept for the validation loss.
        flip: mirror half of the pictures.
        masked: count only what masks show.
        shuffle: put the parts of captions in another order each time.
        caption_dropout: share of pictures that are learned without words.
    """

    steps: int | None = None
    batch: int | None = None
    accumulate: int | None = None
    size: int | None = None
    learning_rate: float | None = None
    optimiser: Optimiser | None = None
    decay: Literal["constant", "cosine", "linear"] | None = None
    warmup: int | None = None
    seed: int | None = None
    precision: Literal["float32", "bfloat16"] | None = None
    checkpointing: bool | None = None
    min_snr: float | None = None
    offset_noise: float | None = None
    ema: float | None = None
    repeats: int | None = None
    held_out: float | None = None
    flip: bool | None = None
    masked: bool | None = None
    shuffle: bool | None = None
    caption_dropout: float | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class LowRankOptions:
    """Which low-rank changes learn.

    Attributes:
        rank: of each change.
        alpha: the change is multiplied by alpha / rank; by itself the rank.
        modules: which layers; may be given several times.
        text_encoder: the text encoder learns too.
        dora: learn the lengths of the weights' rows apart.
        rslora: multiply by alpha / sqrt(rank).
        dropout: share of a layer's inputs that its change does not see.
    """

    rank: int | None = None
    alpha: float | None = None
    modules: tuple[Modules, ...] = ()
    text_encoder: bool = False
    dora: bool | None = None
    rslora: bool | None = None
    dropout: float | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class LowRankRank:
    """A low-rank adapter beside something else.

    Attributes:
        rank: of each change.
    """

    rank: int | None = None


PLACES: dict[str, tuple[str, ...]] = {
    "learning_rate": ("optimiser", "learning_rate"),
    "optimiser": ("optimiser", "name"),
    "decay": ("optimiser", "decay"),
    "warmup": ("optimiser", "warmup"),
    "shuffle": ("wording", "shuffle"),
    "caption_dropout": ("wording", "dropout"),
}
"""Where an option stands in a plan, if not under its own name on top."""


def request(method: str, folder: Path, what: What | None, whose: Whose | None, more: Mapping[str, Any]) -> Request:
    """Return what the words on the command line ask for.

    Raises:
        InvalidInput: they contradict each other, or something is missing.
        NotFound: the model is not there.
    """
    from impasto.corpus.statement import Statement
    from impasto.training.presets import preset
    from impasto.training.specialise import Request
    from impasto.weights.detect import open_model
    from impasto.weights.home import NAMES, PACKAGED
    from impasto.weights.store import find

    what, whose = what or What(), whose or Whose()
    statement = Statement.of(mine=whose.i_made_these, licence=whose.licence, maker=whose.maker)
    place = find(what.model, "model", {name: PACKAGED / name for name in NAMES})
    output = what.output or Path("runs") / (what.name or folder.resolve().name)
    said = {**more, "name": what.name or _plain(output.resolve().name)}
    wording = {name: getattr(what, name) for name in ("subject", "style") if getattr(what, name)}
    said["wording"] = {**wording, **said.get("wording", {})}
    if what.sample:
        said["samples"] = {"prompts": what.sample}
    plan = preset(method, open_model(place).spec, said, _file(what.plan))
    return Request(plan, folder, place, output, statement, what.device)


def _file(path: Path | None) -> dict[str, Any] | None:
    from impasto.errors import InvalidPlan
    from impasto.schema import read_toml

    return read_toml(path, InvalidPlan) if path else None


def _plain(name: str) -> str:
    """Return `name` as the name of a result may be."""
    kept = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name.lower())
    return kept.encode("ascii", "ignore").decode().strip("-._") or "result"


def learning(how: How | None) -> dict[str, Any]:
    """Return the options that were given, nested as plans are."""
    nested: dict[str, Any] = {}
    for field in fields(How):
        value = getattr(how, field.name) if how else None
        if value is None:
            continue
        *groups, last = PLACES.get(field.name, (field.name,))
        table = nested
        for group in groups:
            table = table.setdefault(group, {})
        table[last] = value
    return nested


def adapter(options: LowRankOptions | None) -> dict[str, Any]:
    """Return the options of a low-rank adapter that were given, as plans name them."""
    options = options or LowRankOptions()
    given = {
        "rank": options.rank,
        "alpha": options.alpha,
        "modules": options.modules or None,
        "parts": ("unet", "text_encoder") if options.text_encoder else None,
        "dora": options.dora,
        "rank_stabilised": options.rslora,
        "dropout": options.dropout,
    }
    return {name: value for name, value in given.items() if value is not None}
