"""A recipe: everything that determines one picture, as plain frozen data.

The same recipe gives the same pixels; another processor, number of threads or batch size may change one by 1/255, since
floating-point sums depend on their order. Names of samplers and schedules are plain strings here; who runs a recipe
knows which there are.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

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

LATER = ("start", "mask", "extension", "hires", "variation", "seamless", "vae_tile")
"""Fields that the first recipes did not have; left out of the canonical form when they are not set."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Prompt = Annotated[str, StringConstraints(max_length=20_000)]
Strength = Annotated[float, Field(gt=0, le=1)]
Margin = Annotated[int, Field(ge=0, le=4096, multiple_of=8)]
Counting = Literal["diffusers", "a1111", "exact"]
Upscaler = Literal["latent", "latent-nearest", "latent-bicubic", "lanczos"]
Side = Annotated[int, Field(ge=SIDE_MULTIPLE, le=MAX_SIDE, multiple_of=SIDE_MULTIPLE)]


class AdapterUse(Frozen):
    """An adapter applied to the model: which one, and how strongly."""

    name: Name
    identity: Digest
    weight: Annotated[float, Field(ge=-100, le=100)] = 1.0


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


class Mask(Frozen):
    """Which part of the picture to paint anew, and how.

    Attributes:
        image: `pixels_digest` of the mask, white where to paint; None when all there is to paint is the extension.
        invert: paint where it is black instead.
        blur: radius in pixels of the passage from old to new, 0 to 64.
        content: what the part begins as: what was there, its surroundings smeared, noise, or nothing.
        area: work on the whole picture, or on the masked part alone at the recipe's full size.
        padding: pixels around the masked part that are worked on with it.
    """

    image: Digest | None = None
    invert: bool = False
    blur: Annotated[float, Field(ge=0, le=64)] = 4.0
    content: Literal["original", "fill", "noise", "nothing"] = "original"
    area: Literal["whole", "masked"] = "whole"
    padding: Annotated[int, Field(ge=0, le=1024)] = 32


class Extension(Frozen):
    """Pixels to add to the picture on each side: outpainting."""

    left: Margin = 0
    top: Margin = 0
    right: Margin = 0
    bottom: Margin = 0


class Hires(Frozen):
    """A second pass at a larger size.

    Attributes:
        width: of the picture then, in pixels.
        height: of the picture then, in pixels.
        upscaler: how it gets there: `latent` (bilinear), `latent-nearest`, `latent-bicubic`, or `lanczos` on pixels.
        strength: how much of the first pass to give up.
        steps: of the second pass, all of which are made; None for as many as the first.
        sampler: None for the first pass's.
        schedule: None for the first pass's.
    """

    width: Side
    height: Side
    upscaler: Upscaler = "latent"
    strength: Strength = 0.7
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    sampler: Name | None = None
    schedule: Name | None = None


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


class Recipe(Frozen):
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
            mode is; `a1111-nv` is what a CUDA device draws.
        adapters: applied to the model, in this order.
        start: a picture to begin with.
        mask: which part of that to paint.
        extension: what to add around it.
        hires: a second, larger pass.
        variation: another seed to lean towards.
        seamless: axes along which the picture's ends meet.
        vae_tile: side in pixels of the tiles that the autoencoder works on, which takes less memory; None for none.
    """

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
    noise: Literal["image", "a1111-cpu", "a1111-nv"] = "image"
    adapters: tuple[AdapterUse, ...] = ()
    start: FromPicture | None = None
    mask: Mask | None = None
    extension: Extension | None = None
    hires: Hires | None = None
    variation: Variation | None = None
    seamless: Literal["x", "y", "xy"] | None = None
    vae_tile: Annotated[int, Field(ge=64, le=MAX_SIDE, multiple_of=64)] | None = None

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
        if self.hires and self.mask:
            raise ValueError("hires and mask do not go together: paint first, enlarge then")
        return self

    def plain(self) -> dict[str, Any]:
        """Return the data as JSON types, without what came to this format later and is not set.

        So a recipe keeps its digest, whichever version reads it.
        """
        data = super().plain()
        return {key: value for key, value in data.items() if value is not None or key not in LATER}

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
