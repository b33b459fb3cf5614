"""A recipe: everything that determines one picture, as plain frozen data.

The same recipe gives the same pixels; another processor, number of threads or batch size may change one by 1/255, since
floating-point sums depend on their order. Names of samplers and schedules are plain strings here; who runs a recipe
knows which there are.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator
from typing_extensions import Self

from impasto.errors import InvalidRecipe
from impasto.schema import Digest, Frozen

MAX_SEED = 2**53 - 1
"""The largest seed: the largest whole number that every JSON reader keeps exactly."""

MAX_STEPS = 1000
MAX_GUIDANCE = 100.0
MAX_SIDE = 8192
SIDE_MULTIPLE = 8
"""Widths and heights are whole multiples of this; a model may ask for a larger multiple."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Prompt = Annotated[str, StringConstraints(max_length=20_000)]
Strength = Annotated[float, Field(gt=0, le=1)]
Margin = Annotated[int, Field(ge=0, le=4096, multiple_of=8)]
Counting = Literal["diffusers", "a1111", "exact"]
Upscaler = Literal[
    "latent",
    "latent-antialiased",
    "latent-nearest",
    "latent-nearest-exact",
    "latent-bicubic",
    "latent-bicubic-antialiased",
    "lanczos",
]
Side = Annotated[int, Field(ge=SIDE_MULTIPLE, le=MAX_SIDE, multiple_of=SIDE_MULTIPLE)]
Weight = Annotated[float, Field(ge=-100, le=100)]
Level = Annotated[float, Field(ge=0, le=1e6)]
Emphasis = Literal["original", "no_norm", "comfy", "ignore", "none"]
Rules = Literal["impasto", "a1111"]
NoiseName = Literal["image", "a1111-cpu", "a1111-nv", "comfyui"]


class Grown(Frozen):
    """Data that fields were added to; one that is not set is left out of its canonical form.

    So what was written before keeps its digest, whichever version reads it.
    """

    LATER: ClassVar[tuple[str, ...]] = ()
    """Fields that the first version did not have."""

    def plain(self) -> dict[str, Any]:
        """Return the data as JSON types, without what came later and is as if it had not come."""
        data = super().plain()
        unset = {key for key in self.LATER if getattr(self, key) == type(self).model_fields[key].default}
        return {key: _plain(value, data[key]) for key, value in self if key not in unset}


def _plain(value: Any, data: Any) -> Any:
    if isinstance(value, Frozen):
        return value.plain()
    if isinstance(value, tuple):
        return [_plain(part, its) for part, its in zip(value, data, strict=True)]
    return data


class AdapterUse(Grown):
    """An adapter applied to the model: which one, and how strongly.

    Attributes:
        name: what people call it.
        identity: digest of its file.
        weight: of its changes to the networks.
        text_encoder: weight of those to the text encoder, where it is another; otherwise None.
        ranks: how many of its ranks to use; None for all.
    """

    LATER = ("text_encoder", "ranks")

    name: Name
    identity: Digest
    weight: Weight = 1.0
    text_encoder: Weight | None = None
    ranks: Annotated[int, Field(ge=1, le=999_999)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _said_once(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("text_encoder") == data.get("weight", 1.0):
            return {**data, "text_encoder": None}
        return data


class EmbeddingUse(Frozen):
    """An embedding (textual inversion) that a prompt names: which one was meant."""

    name: Name
    identity: Digest


class SamplerOptions(Grown):
    """How a sampler is to work, where that is not as usual; None leaves it so.

    Attributes:
        eta: how much of the noise to renew at each step.
        s_noise: by how much to multiply what is renewed.
        s_churn: how much noise to add before each step.
        s_tmin: lowest noise level at which to.
        s_tmax: highest noise level at which to.
        order: of a multistep method.
        solver: of `dpmpp_2m_sde`.
        variant: of `unipc`.
    """

    eta: Annotated[float, Field(ge=0, le=10)] | None = None
    s_noise: Annotated[float, Field(ge=0, le=10)] | None = None
    s_churn: Annotated[float, Field(ge=0, le=1000)] | None = None
    s_tmin: Level | None = None
    s_tmax: Level | None = None
    order: Annotated[int, Field(ge=1, le=8)] | None = None
    solver: Literal["midpoint", "heun"] | None = None
    variant: Literal["bh1", "bh2"] | None = None

    LATER = ("eta", "s_noise", "s_churn", "s_tmin", "s_tmax", "order", "solver", "variant")

    def given(self) -> dict[str, Any]:
        """Return what is not None, by name."""
        return {key: value for key, value in self if value is not None}


class ScheduleOptions(Grown):
    """How a schedule is to space its noise levels, where that is not as usual; None leaves it so.

    Attributes:
        rho: how close together the low levels are: of `karras` (7) and `polyexponential` (1).
        sigma_min: the lowest level above 0; by itself the network's lowest.
        sigma_max: the highest level; by itself the network's highest.
    """

    rho: Annotated[float, Field(gt=0, le=100)] | None = None
    sigma_min: Annotated[float, Field(gt=0, le=1000)] | None = None
    sigma_max: Annotated[float, Field(gt=0, le=1000)] | None = None

    LATER = ("rho", "sigma_min", "sigma_max")

    def given(self) -> dict[str, float]:
        """Return what is not None, by name."""
        return {key: value for key, value in self if value is not None}


class GuidanceInterval(Frozen):
    """The noise levels, in sigma, above `low` and up to `high` at which there is guidance; None means any."""

    low: Level = 0.0
    high: Level | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.high is not None and self.high <= self.low:
            raise ValueError(f"guidance_interval from {self.low} to {self.high} is empty")
        return self


class Draw(Frozen):
    """Which of the pictures that were drawn together this is, where their noise is drawn at once.

    Attributes:
        count: of those pictures.
        row: of this one, from 0.
    """

    count: Annotated[int, Field(ge=1, le=1000)] = 1
    row: Annotated[int, Field(ge=0, lt=1000)] = 0

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.row >= self.count:
            raise ValueError(f"draw has no row {self.row} of {self.count}; the first is 0")
        return self


class FromPicture(Frozen):
    """A picture to begin with, instead of noise alone.

    Attributes:
        image: `pixels_digest` of the picture, as it was given.
        strength: how much of it to give up, above 0 and up to 1.
        counting: which of the steps that means. With `diffusers` the last `int(strength * steps)`; with `a1111` the
            last `int(min(strength, 0.999) * steps) + 1`; with `exact` all `steps`, of a schedule that many times
            longer.
    """

    image: Digest
    strength: Strength
    counting: Counting = "diffusers"


class Painting(Frozen):
    """How a part of a picture is painted anew.

    Attributes:
        invert: paint where it is black instead.
        blur: radius in pixels of the passage from old to new, 0 to 64.
        content: what the part begins as: what was there, its surroundings smeared, noise, or nothing.
        area: work on the whole picture, or on the masked part alone at the recipe's full size.
        padding: pixels around the masked part that are worked on with it.
    """

    invert: bool = False
    blur: Annotated[float, Field(ge=0, le=64)] = 4.0
    content: Literal["original", "fill", "noise", "nothing"] = "original"
    area: Literal["whole", "masked"] = "whole"
    padding: Annotated[int, Field(ge=0, le=1024)] = 32


class Mask(Painting):
    """Which part of the picture to paint anew, and how.

    Attributes:
        image: `pixels_digest` of the mask, white where to paint; None when all there is to paint is the extension.
    """

    image: Digest | None = None


class Extension(Frozen):
    """Pixels to add to the picture on each side: outpainting."""

    left: Margin = 0
    top: Margin = 0
    right: Margin = 0
    bottom: Margin = 0


class ModelUse(Frozen):
    """A model besides the recipe's own: what people call it, and what it is."""

    name: Name
    identity: Digest


class Hires(Grown):
    """A second pass at a larger size.

    Attributes:
        width: of the picture then, in pixels.
        height: of the picture then, in pixels.
        upscaler: how it gets there: `latent` (bilinear), `latent-nearest`, `latent-bicubic` ... or `lanczos` on pixels.
        strength: how much of the first pass to give up.
        steps: of the second pass, all of which are made; None for as many as the first.
        sampler: None for the first pass's.
        schedule: None for the first pass's.
        sampler_options: of its own sampler; the first pass's sampler keeps its own.
        discard_penultimate: as the recipe's, for its own sampler.
        prompt: None for the first pass's.
        negative_prompt: None for the first pass's.
        adapters: None for the first pass's.
        model: that makes it; None for the first pass's.
    """

    LATER = ("sampler_options", "discard_penultimate", "prompt", "negative_prompt", "adapters", "model")

    width: Side
    height: Side
    upscaler: Upscaler = "latent"
    strength: Strength = 0.7
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    sampler: Name | None = None
    schedule: Name | None = None
    sampler_options: SamplerOptions | None = None
    discard_penultimate: bool = False
    prompt: Prompt | None = None
    negative_prompt: Prompt | None = None
    adapters: tuple[AdapterUse, ...] | None = None
    model: ModelUse | None = None

    @model_validator(mode="after")
    def _options_have_a_sampler(self) -> Self:
        if self.sampler is None and (self.sampler_options or self.discard_penultimate):
            raise ValueError("hires.sampler_options and discard_penultimate are about a sampler of its own; name it")
        return self


class Variation(Frozen):
    """A change to the first noise that keeps most of the picture.

    Attributes:
        seed: to go towards.
        strength: how far: 0 is the recipe's own seed, 1 this one.
        width: of the picture whose noise to keep in the middle of this one; with `height`, or neither.
        height: of that picture.
    """

    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    strength: Annotated[float, Field(ge=0, le=1)] = 0
    width: Side | None = None
    height: Side | None = None


class Recipe(Grown):
    """Everything that determines one picture.

    Attributes:
        format: version of this format; it changes when the meaning of a field does.
        model_name: what people call the model; for reading, not for identity.
        model_digest: identity of the model's weights and configuration.
        prompt: what the picture is to show.
        negative_prompt: what guidance moves away from.
        seed: of the picture's noise, 0 to 2**53 - 1.
        sampler: name of the solver.
        schedule: name of the noise levels' spacing.
        steps: of the solver, 1 to 1000.
        guidance: scale of classifier-free guidance, 0 to 100; 1 means none.
        width: in pixels, 8 to 8192, a multiple of 8.
        height: in pixels, 8 to 8192, a multiple of 8.
        dtype: number format of the networks.
        noise: where noise comes from; `image` is one CPU generator a picture, started from its seed, as A1111's CPU
            mode is; `a1111-nv` is what a CUDA device draws; `comfyui` draws that of a whole batch at once.
        adapters: applied to the model, in this order: all of them, those that the prompt calls too.
        start: a picture to begin with.
        mask: which part of that to paint.
        extension: what to add around it.
        hires: a second, larger pass.
        variation: another seed to lean towards.
        seamless: axes along which the picture's ends meet.
        vae_tile: side in pixels of the tiles that the autoencoder works on, which takes less memory; None for none.
        embeddings: that the prompts name; others that the model has are words to this recipe.
        prompt_rules: how prompts are read, where programs differ: `prompts.grammar.RULES`.
        emphasis: what a weight in a prompt does: `prompts.conditioning.EMPHASES`.
        clip_skip: 1 for all layers of the text encoder, 2 to leave out the last, and so on: A1111's counting.
        sampler_options: how the sampler is to work, where not as usual.
        schedule_options: how the schedule is to space its levels, where not as usual; in the second pass too, as far as
            its schedule has them.
        discard_penultimate: whether the schedule is one of one step more, without the last level above 0.
        first_noise: `sigma` for a first noise of that level; `unit` for one of variance 1 in the network's own scale,
            `sqrt(1 + sigma^2)`. None is `unit` for ddim and `sigma` otherwise.
        guidance_rescale: how far, 0 to 1, guidance keeps the spread of the prompt's own prediction.
        guidance_interval: of noise levels; elsewhere the prompt alone counts.
        draw: which picture of a batch it is, for noise that is drawn for all of them at once.
        noise_delta: what is added to the seed for the noise of the steps: A1111's ENSD.
        zero_snr: stretch the model's noise levels until the last hides the picture (zero terminal SNR); the last
            level is that of the program named.
        soft_binding: how the first noise is marked, so that the picture can be told without its metadata
            (`rights.watermark`); None leaves it as it is drawn.
    """

    LATER = (
        *("start", "mask", "extension", "hires", "variation", "seamless", "vae_tile"),
        *("embeddings", "prompt_rules", "emphasis", "clip_skip", "sampler_options", "discard_penultimate"),
        *("first_noise", "guidance_rescale", "guidance_interval", "draw", "noise_delta", "zero_snr", "soft_binding"),
        "schedule_options",
    )

    format: Literal["impasto-recipe/1"] = "impasto-recipe/1"
    model_name: Name
    model_digest: Digest
    prompt: Prompt
    negative_prompt: Prompt = ""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)]
    sampler: Name
    schedule: Name
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    guidance: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)]
    width: Side
    height: Side
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    noise: NoiseName = "image"
    adapters: tuple[AdapterUse, ...] = ()
    start: FromPicture | None = None
    mask: Mask | None = None
    extension: Extension | None = None
    hires: Hires | None = None
    variation: Variation | None = None
    seamless: Literal["x", "y", "xy"] | None = None
    vae_tile: Annotated[int, Field(ge=64, le=MAX_SIDE, multiple_of=64)] | None = None
    embeddings: tuple[EmbeddingUse, ...] = ()
    prompt_rules: Rules = "impasto"
    emphasis: Emphasis = "original"
    clip_skip: Annotated[int, Field(ge=1, le=100)] = 1
    sampler_options: SamplerOptions | None = None
    schedule_options: ScheduleOptions | None = None
    discard_penultimate: bool = False
    first_noise: Literal["sigma", "unit"] | None = None
    guidance_rescale: Annotated[float, Field(ge=0, le=1)] = 0.0
    guidance_interval: GuidanceInterval | None = None
    draw: Draw | None = None
    noise_delta: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    zero_snr: Literal["diffusers", "a1111"] | None = None
    soft_binding: Literal["gaussian-shading/1"] | None = None

    @field_validator("seed", "steps", "width", "height", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object) -> object:
        if isinstance(value, bool):
            message = "Input should be a whole number, not true or false"
            raise ValueError(message)  # noqa: TRY004  (pydantic collects ValueError only)
        return value

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        if self.start is None and (self.mask or self.extension):
            raise ValueError("mask and extension need a start: the picture that they are about")
        if self.mask and self.mask.image is None and not self.extension:
            raise ValueError("mask needs an image, unless there is an extension to paint")
        if self.soft_binding and (self.start or self.hires or self.variation):
            raise ValueError("soft_binding marks the first noise, which start, hires and variation would write over")
        if self.hires and self.mask:
            raise ValueError("hires and mask do not go together: paint first, enlarge then")
        if self.draw and self.noise != "comfyui":
            raise ValueError("draw is about noise that is drawn for several pictures at once: that of comfyui")
        if self.noise == "comfyui" and (self.variation or self.noise_delta):
            raise ValueError("variation and noise_delta do not go with the noise of comfyui, which has neither")
        return self

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "The recipe") -> Recipe:
        """Read a recipe from JSON `text`; `where` names its origin in messages.

        Raises:
            InvalidRecipe: not JSON, or not a recipe of this format.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidRecipe(f"{where} is not JSON: {error}") from error
        if not isinstance(data, dict):
            raise InvalidRecipe(f"{where} is not valid: a JSON object is needed, given: {text!r:.80}")
        return cls.parse(data, where, InvalidRecipe)
