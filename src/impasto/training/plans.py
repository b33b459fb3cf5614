"""Training plans: everything that determines what is learned, as TOML files closed to unknown keys.

Where things lie on a machine (corpus, output, device) is not part of a plan: the same plan on the same corpus gives the
same model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator
from typing_extensions import Self

from impasto.corpus.concepts import read_concepts
from impasto.errors import InvalidPlan, NotFound
from impasto.models.specs import SPECS, ModelSpec
from impasto.models.vae import VAEConfig
from impasto.schema import Frozen, read_toml

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
ANY = "any"  #: as the `start` of a plan: whichever is given


class OptimiserPlan(Frozen):
    """How the weights follow the gradient.

    Attributes:
        name: a row of `OPTIMISERS`.
        learning_rate: at its highest; `prodigy` finds its own, and takes 1 here.
        betas: decay of the running means of the gradient and of its square.
        weight_decay: decoupled, on weights with two or more dimensions only.
        warmup: steps over which the learning rate rises from 0.
        decay: its shape after that.
        floor: share of the learning rate that is left at the end of the decay.
        clip: greatest norm of the whole gradient.
    """

    name: Literal["adamw", "muon", "adamw-8bit", "adafactor", "prodigy", "schedule-free"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Annotated[int, Field(ge=0)] = 100
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    floor: Share = 0.0
    clip: Annotated[float, Field(gt=0)] = 1.0


class Stage(Frozen):
    """A stretch of training at one size.

    Attributes:
        size: side of the square that is learned from, in pixels.
        batch: pictures a step.
        steps: how many steps.
    """

    size: Positive
    batch: Positive
    steps: Positive


class Selection(Frozen):
    """Which rows of a corpus are learned from.

    Attributes:
        collections: only these; all when empty.
        concepts: only these; all when empty. In a file, also the name of a list beside the plan, one a line.
        minimum_collections: only concepts that stand in at least so many of the chosen collections.
    """

    collections: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()
    minimum_collections: Annotated[int, Field(ge=0)] = 0


class TrainingPlan(Frozen):
    """What all plans share.

    Attributes:
        name: of what is made.
        seed: of every draw.
        stages: low resolution first.
        optimiser: how the weights follow the gradient.
        ema: decay of the running mean of the weights, which is what is kept in the end.
        select: rows to learn from.
        checkpoint_every: steps between saved states; what `kill -9` can cost.
        sheet_every: steps between sample sheets, with the validation figure.
        log_every: steps between lines of metrics.
        keep: how many states are kept.
        precision: of the arithmetic; weights are float32 always.
        channels_last: memory layout of the convolutions.
        licence: SPDX expression of what is made.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    optimiser: OptimiserPlan = OptimiserPlan()
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    select: Selection = Selection()
    checkpoint_every: Positive = 500
    sheet_every: Positive = 1000
    log_every: Positive = 20
    keep: Positive = 2
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = True
    licence: str = "Apache-2.0"

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    @property
    def pieces(self) -> int:
        """How many losses a step's gradient is the mean of, one after the other or in several processes."""
        return 1

    def rate(self, name: str) -> float:  # noqa: ARG002 (plans that tell parts apart look at it)
        """Return the learning rate of the parameter called `name`, as a share of the optimiser's."""
        return 1.0

    def place(self, step: int) -> tuple[Stage, int]:
        """Return the stage that `step` falls in, and how many pictures were seen before it."""
        seen = 0
        for stage in self.stages:
            if step < stage.steps:
                return stage, seen + step * stage.batch
            step -= stage.steps
            seen += stage.steps * stage.batch
        return self.stages[-1], seen


class Backgrounds(Frozen):
    """What a drawing with transparency is laid on.

    Attributes:
        white: share of drawings laid on white.
        named: share laid on a colour that has a name; the rest lie on any colour.
    """

    white: Share = 0.5
    named: Share = 0.0

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.white + self.named > 1:
            raise ValueError(f"white ({self.white}) and named ({self.named}) together exceed 1")
        return self


class Equivariance(Frozen):
    """Latents that turn and shrink as their pictures do (EQ-VAE, Kouzelis et al. 2502.09509).

    Attributes:
        share: of the steps that decode turned and resized latents.
        scales: sizes to choose from, as shares of the side; those that fit the stage's latents are used.
    """

    share: Share = 0.0
    scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.5, 0.75, 1.0)


class AutoencoderPlan(TrainingPlan):
    """Train the autoencoder: pictures to latents and back.

    Attributes:
        kind: what this plan is for.
        model: shape of the autoencoder: a row of `SPECS`, or the shape itself.
        start: digest of the autoencoder that training goes on from, given with `--start`; None for random weights.
        decoder_only: leave the encoder, and with it every latent, as it is.
        backgrounds: what drawings are laid on.
        gradient_weight: weight of the difference of neighbouring pixels beside that of the pixels themselves.
        kl_weight: weight of the divergence of the latents from the standard normal, in nats a latent.
        equivariance: of the latents.
        flip: mirror half of the drawings.
    """

    kind: Literal["autoencoder"] = "autoencoder"
    model: str | VAEConfig
    start: str | None = None
    decoder_only: bool = False
    backgrounds: Backgrounds = Backgrounds()
    gradient_weight: Annotated[float, Field(ge=0)] = 1.0
    kl_weight: Annotated[float, Field(ge=0)] = 1e-2
    equivariance: Equivariance = Equivariance()
    flip: bool = True

    @property
    def config(self) -> VAEConfig:
        """The autoencoder's shape, latents as they are (they are normalised in the weights)."""
        config = spec_of(self.model).vae if isinstance(self.model, str) else self.model
        return config.model_copy(update={"scaling_factor": 1.0})

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        factor = self.config.factor
        if odd := [stage.size for stage in self.stages if stage.size % factor]:
            raise ValueError(f"stage sizes {odd} are no multiples of the autoencoder's factor {factor}")
        if self.decoder_only and self.start is None:
            raise ValueError("decoder_only needs `start`: the digest of the autoencoder whose encoder is kept")
        return self


class CaptionPlan(Frozen):
    """How a row becomes words.

    Attributes:
        templates: sentences with the slots {caption} and {style}; one is drawn for each picture.
        backgrounds: the same for drawings on a named colour, with the slot {colour}, put behind the sentence.
        styles: collection -> its name in words; a collection without one is named by its own name.
        dropout: share of pictures that are learned without words, for classifier-free guidance.
    """

    templates: Annotated[tuple[str, ...], Field(min_length=1)] = ("{caption}", "{caption}, {style} style")
    backgrounds: Annotated[tuple[str, ...], Field(min_length=1)] = (" on a {colour} background",)
    styles: dict[str, str] = Field(default_factory=dict)
    dropout: Share = 0.1


class ModelPlan(TrainingPlan):
    """Train text encoder and UNet on the latents of a finished autoencoder.

    Attributes:
        kind: what this plan is for.
        model: a row of `SPECS`, or the specification itself.
        start: digest of the model that training goes on from, given with `--start`; "any" for whichever is given, which
            the receipt then names; None for random weights.
        variants: latents cached for each drawing: half of them on white, the others on named colours.
        flip: mirror half of the variants.
        unmirrored: concepts that are never mirrored, because they hold letters or digits or have a side.
        captions: how a row becomes words.
        weighting: a row of `WEIGHTINGS`.
        times: how noise levels are drawn: evenly, or in a bell (Esser et al. 2403.03206).
        times_mean: where that bell lies, in logits: below 0 means less noise than the middle of the schedule.
        guidance: of the sample sheets, and of the finished model when nobody says otherwise.
        sample_prompts: what the sample sheets show.
    """

    kind: Literal["model"] = "model"
    model: str | ModelSpec
    start: str | None = None
    variants: Positive = 4
    flip: bool = True
    unmirrored: tuple[str, ...] = ()
    captions: CaptionPlan = CaptionPlan()
    weighting: Literal["uniform", "min-snr"] = "min-snr"
    times: Literal["uniform", "logit-normal"] = "uniform"
    times_mean: Annotated[float, Field(ge=-4, le=4)] = 0.0
    guidance: Annotated[float, Field(ge=0, le=100)] = 4.0
    sample_prompts: Annotated[tuple[str, ...], Field(min_length=1)] = ("",)

    @property
    def spec(self) -> ModelSpec:
        """The model's specification."""
        return spec_of(self.model) if isinstance(self.model, str) else self.model


class Teacher(Frozen):
    """A text model that words are learned from: word vectors in a package of the npm registry (see `vectors.read`).

    Attributes:
        package: name on the registry.
        version: exact version.
        integrity: `sha512-<base64>` of its tarball.
        file: path in the tarball.
        licence: SPDX identifier or expression.
        credit: whom it is from, for the attribution.
    """

    package: str
    version: str
    integrity: str
    file: str
    licence: str
    credit: str


class WordsPlan(TrainingPlan):
    """Teach the text encoder of a finished model words that no caption has.

    Attributes:
        kind: what this plan is for.
        start: digest of the model, given with `--start`; "any" or None for whichever is given, which the receipt then
            names.
        teacher: that knows which words are alike.
        select: `concepts` are the things that the model knows; a word is learned as one of these.
        frequent: how many of the teacher's words are looked at, frequent ones first.
        closeness: least cosine of a word and what it is learned as.
        share: of a batch that is words; the rest is captions that must not change.
        captions: what stood around names in the captions.
        grounds: share of captions with a colour behind the thing.
        guidance: of the sample sheets.
        sample_prompts: what the sample sheets show.
    """

    kind: Literal["words"] = "words"
    start: str | None = ANY
    teacher: Teacher
    frequent: Positive = 20_000
    closeness: Annotated[float, Field(ge=0, le=1)] = 0.5
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    captions: CaptionPlan = CaptionPlan()
    grounds: Share = 0.3
    guidance: Annotated[float, Field(ge=0, le=100)] = 4.0
    sample_prompts: Annotated[tuple[str, ...], Field(min_length=1)] = ("",)

    @model_validator(mode="after")
    def _things(self) -> Self:
        if not self.select.concepts:
            raise ValueError("select.concepts must name the things that the model knows")
        return self


Plan = TypeVar("Plan", bound=TrainingPlan)


def read(kind: type[Plan], path: Path) -> Plan:
    """Read the plan of a `kind` from the TOML file at `path`; a list of concepts that it names becomes part of it.

    Raises:
        InvalidPlan: the file is missing, is not TOML, or its content is not valid.
    """
    data = read_toml(path, InvalidPlan)
    select = data.get("select")
    if isinstance(select, dict) and isinstance(select.get("concepts"), str):
        try:
            select["concepts"] = read_concepts(path.parent / select["concepts"])
        except NotFound as error:
            raise InvalidPlan(f"{path} names a list of concepts that is not there: {error}") from error
    return kind.parse(data, str(path), InvalidPlan)


def spec_of(name: str) -> ModelSpec:
    """Return the row `name` of `SPECS`; a ValueError, for validators, lists the rows when there is none."""
    if name not in SPECS:
        raise ValueError(f"unknown model {name!r}; choose one of: {', '.join(sorted(SPECS))}")
    return SPECS[name]
