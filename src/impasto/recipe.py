"""A recipe: everything that determines one picture, as plain frozen data.

The same recipe gives the same pixels; another processor, number of threads or batch size may change one by 1/255, since
floating-point sums depend on their order. Names of samplers and schedules are plain strings here; who runs a recipe
knows which there are.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

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
Side = Annotated[int, Field(ge=SIDE_MULTIPLE, le=MAX_SIDE, multiple_of=SIDE_MULTIPLE)]


class AdapterUse(Frozen):
    """An adapter applied to the model: which one, and how strongly."""

    name: Name
    identity: Digest
    weight: Annotated[float, Field(ge=-100, le=100)] = 1.0


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
        noise: where noise comes from; `image` is one CPU generator a picture, started from its seed.
        adapters: applied to the model, in this order.
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
    noise: Literal["image"] = "image"
    adapters: tuple[AdapterUse, ...] = ()

    @field_validator("seed", "steps", "width", "height", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object) -> object:
        if isinstance(value, bool):
            message = "Input should be a whole number, not true or false"
            raise ValueError(message)  # noqa: TRY004  (pydantic collects ValueError only)
        return value

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
