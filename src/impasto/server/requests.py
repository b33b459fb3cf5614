"""What a client says, and the job that it means: the one place where words of any API become recipes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field, StrictFloat, StrictInt, StrictStr, StringConstraints, field_validator, model_validator
from typing_extensions import Self

from impasto.errors import ImpastoError, InvalidInput, InvalidRecipe, NotFound
from impasto.pictures.axes import FIELDS, placed
from impasto.pipeline import Model
from impasto.pipeline.checks import SHARED, check
from impasto.pipeline.passes import counted
from impasto.recipe import (
    MAX_GUIDANCE,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    SIDE_MULTIPLE,
    Counting,
    Emphasis,
    Extension,
    GuidanceInterval,
    NoiseName,
    Painting,
    Prompt,
    Recipe,
    Rules,
    SamplerOptions,
    ScheduleOptions,
    Strength,
    Upscaler,
    Variation,
)
from impasto.schema import Frozen, digest
from impasto.server.jobs import PRIORITIES, Kind, NewJob, alike
from impasto.server.models import Offered, Shelf
from impasto.server.pictures import Library, Saved
from impasto.server.settings import Limits

Id = Annotated[str, StringConstraints(pattern=r"^[a-z][0-9a-f]{20}$")]
"""Of an upload, a picture or a job."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Side = Annotated[int, Field(ge=SIDE_MULTIPLE, le=MAX_SIDE)]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Seed = Annotated[int, Field(ge=-1, le=MAX_SEED)]
Priority = Annotated[int, Field(ge=PRIORITIES[0], le=PRIORITIES[1])]

SETTINGS = (
    *("negative_prompt", "sampler", "schedule", "steps", "guidance", "width", "height", "tool"),
    *("extension", "variation", "seamless", "vae_tile", "noise", "prompt_rules", "emphasis", "clip_skip"),
    *("sampler_options", "schedule_options", "discard_penultimate", "first_noise", "guidance_rescale"),
    *("guidance_interval", "noise_delta", "zero_snr", "soft_binding"),
)
"""Fields of a request that go into `Model.recipe` as they are."""

AXES = {name: kind for name, kind in FIELDS.items() if name not in ("emphasis", "guidance_rescale")}
"""What an axis of a grid may be, and what its values are."""

UPSCALE_STRENGTH = 0.35


class RequestRefused(InvalidInput):
    """A request that cannot be met.

    Attributes:
        field: of the request that is at fault; None when it is not one of them alone.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        self.field = field
        super().__init__(message)


class AdapterChoice(Frozen):
    """An adapter to use: its id, how strongly, and how strongly on the text encoder, where that is another."""

    id: Name
    weight: Annotated[float, Field(ge=-10, le=10)] = 1.0
    text_encoder: Annotated[float, Field(ge=-10, le=10)] | None = None


class StartChoice(Frozen):
    """A picture to begin with.

    Attributes:
        image: id of an upload or a picture.
        strength: how much of it to give up, above 0 and up to 1.
        counting: which of the steps that means; see `recipe.FromPicture`.
    """

    image: Id
    strength: Strength = 0.75
    counting: Counting = "diffusers"


class MaskChoice(Painting):
    """Which part of the picture to paint anew; see `recipe.Mask`. The image is the id of an upload or a picture."""

    image: Id | None = None


class HiresChoice(Frozen):
    """A second pass at a larger size, `scale` times as large or of `width` and `height`; see `recipe.Hires`.

    `model` is the id, name or digest of the model that makes it, where that is another one.
    """

    scale: Annotated[float, Field(gt=1, le=8)] | None = None
    width: Side | None = None
    height: Side | None = None
    upscaler: Upscaler = "latent"
    strength: Strength = 0.7
    steps: Steps | None = None
    sampler: Name | None = None
    schedule: Name | None = None
    sampler_options: SamplerOptions | None = None
    discard_penultimate: bool = False
    prompt: Prompt | None = None
    negative_prompt: Prompt | None = None
    model: Name | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.scale is None) == (self.width is None or self.height is None):
            raise ValueError("give either scale, or width and height")
        return self


class GenerateRequest(Frozen):
    """Pictures to make. What is left out is the model's own.

    Attributes:
        model: id, name or digest; the server's first one when left out.
        prompt: what the pictures are to show.
        negative_prompt: what to keep away from.
        count: how many pictures; each has the seed of the one before plus 1.
        seed: of the first picture; -1 or left out for one that is drawn at random.
        sampler: how the noise comes off; ours, or what other programs call it.
        schedule: how the noise levels are spaced.
        steps: more take longer and draw finer.
        guidance: how strictly to follow the prompt; 1 is as trained.
        width: in pixels.
        height: in pixels.
        adapters: to use, besides those that the prompt names.
        start: a picture to begin with.
        mask: which part of it to paint.
        extension: what to add around it.
        hires: a second, larger pass.
        variation: another seed to lean towards.
        seamless: axes along which the picture's ends meet.
        vae_tile: side in pixels of the tiles that large pictures are decoded in.
        noise: where noise comes from; this and what follows as in `recipe.Recipe`.
        prompt_rules: how prompts are read, where programs differ.
        emphasis: what a weight in a prompt does.
        clip_skip: how many of the text encoder's last layers to leave out, plus 1.
        sampler_options: how the sampler is to work, where not as usual.
        schedule_options: how the schedule is to space its levels, where not as usual.
        discard_penultimate: whether to leave out the schedule's last level above 0.
        first_noise: how strong it is.
        guidance_rescale: how far guidance keeps the spread of the prompt's own prediction.
        guidance_interval: of noise levels at which there is guidance.
        noise_delta: what is added to the seed for the noise of the steps.
        zero_snr: whether to stretch the noise levels until the last hides the picture.
        soft_binding: how the first noise is marked, so that the picture can be told without its metadata.
        tool: whose names `sampler` and `schedule` are; left out, anybody's.
        priority: jobs of a higher one come first.
    """

    model: Name | None = None
    prompt: Prompt
    negative_prompt: Prompt | None = None
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    seed: Seed | None = None
    sampler: Name | None = None
    schedule: Name | None = None
    steps: Steps | None = None
    guidance: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None
    width: Side | None = None
    height: Side | None = None
    adapters: Annotated[tuple[AdapterChoice, ...], Field(max_length=20)] = ()
    start: StartChoice | None = None
    mask: MaskChoice | None = None
    extension: Extension | None = None
    hires: HiresChoice | None = None
    variation: Variation | None = None
    seamless: Literal["x", "y", "xy"] | None = None
    vae_tile: Annotated[int, Field(ge=64, le=MAX_SIDE, multiple_of=64)] | None = None
    noise: NoiseName | None = None
    prompt_rules: Rules | None = None
    emphasis: Emphasis | None = None
    clip_skip: Annotated[int, Field(ge=1, le=100)] | None = None
    sampler_options: SamplerOptions | None = None
    schedule_options: ScheduleOptions | None = None
    discard_penultimate: bool | None = None
    first_noise: Literal["sigma", "unit"] | None = None
    guidance_rescale: Annotated[float, Field(ge=0, le=1)] | None = None
    guidance_interval: GuidanceInterval | None = None
    noise_delta: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    zero_snr: Literal["diffusers", "a1111"] | None = None
    soft_binding: Literal["gaussian-shading/1"] | None = None
    tool: Literal["impasto", "a1111", "comfyui", "diffusers"] | None = None
    priority: Priority = 0

    @field_validator("seed", "steps", "width", "height", "count", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object) -> object:
        if isinstance(value, bool):
            message = "Input should be a whole number, not true or false"
            raise ValueError(message)  # noqa: TRY004  (pydantic collects ValueError only)
        return value


class Axis(Frozen):
    """A setting and the values that it is to have, along one side of a grid."""

    name: Literal[tuple(AXES)]  # type: ignore[valid-type]  # the table's own keys
    values: Annotated[tuple[StrictStr | StrictInt | StrictFloat, ...], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        kind = AXES[self.name]
        wrong = [value for value in self.values if not _is(kind, value)]
        if wrong:
            raise ValueError(f"{self.name} cannot be {wrong[0]!r}; its values are of type {kind.__name__}")
        return self


def _is(kind: type, value: str | int | float) -> bool:
    return isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)


class GridRequest(Frozen):
    """One request under all combinations of some settings: a picture each, and labelled sheets of them.

    Attributes:
        request: what holds for all of them; they have one seed unless that is an axis.
        axes: from left to right, from top to bottom, and from sheet to sheet.
    """

    request: GenerateRequest
    axes: Annotated[tuple[Axis, ...], Field(min_length=1, max_length=3)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names_ = [axis.name for axis in self.axes]
        if len(set(names_)) < len(names_):
            raise ValueError("an axis is given twice")
        return self


class UpscaleRequest(Frozen):
    """A picture, larger.

    Attributes:
        scale: how many times as wide and as high.
        upscaler: `lanczos` goes on from the picture's pixels, the others from its first pass, which they make again.
        strength: how much is painted anew.
        steps: of the second pass; left out, as many as the first.
        priority: jobs of a higher one come first.
    """

    scale: Annotated[float, Field(gt=1, le=8)] = 2.0
    upscaler: Upscaler = "lanczos"
    strength: Strength = UPSCALE_STRENGTH
    steps: Steps | None = None
    priority: Priority = 0


@dataclass(frozen=True)
class Desk:
    """Where requests are read: what they may name, and how much they may ask for."""

    shelf: Shelf
    library: Library
    limits: Limits

    def generate(self, request: GenerateRequest) -> NewJob:
        """Return the job that `request` means.

        Raises:
            RequestRefused: it cannot be met, or asks for more than is allowed; names the field.
            NotFound: it names something that is not there.
        """
        if request.count > self.limits.max_count:
            raise RequestRefused(f"count is {request.count}; {self.limits.max_count} are the most.", "count")
        model = self._model(request.model)
        recipes = self._recipes(model, request, request.count)
        return self._job("generate", model, request, recipes, _sources(request), request.priority)

    def grid(self, request: GridRequest) -> NewJob:
        """Return the job that `request` means; see `generate`."""
        axes = [*request.axes, *[None] * (3 - len(request.axes))]
        values = [axis.values if axis else (None,) for axis in axes]
        cells = [dict(zip(axes, reversed(cell), strict=True)) for cell in product(*reversed(values))]
        if len(cells) > self.limits.max_cells:
            raise RequestRefused(f"The grid has {len(cells)} cells; {self.limits.max_cells} are the most.", "axes")
        base = request.request
        if base.count != 1:
            raise RequestRefused("A grid makes one picture a cell. Leave count out, or put seeds on an axis.", "count")
        base = base.model_copy(update={"seed": _seed(base.seed)})
        model = self._model(base.model)
        recipes = [self._recipes(model, _varied(base, cell), 1)[0] for cell in cells]
        sheets = _sheets(base, axes, recipes)
        return self._job("grid", model, request, recipes, _sources(base), base.priority, sheets)

    def upscale(self, picture: Saved, request: UpscaleRequest) -> NewJob:
        """Return the job that makes `picture` larger; see `generate`."""
        if picture.recipe is None:
            raise RequestRefused("A sheet has no recipe, and cannot be made larger.")
        model = self.shelf.by_digest(picture.model_digest)
        recipe = Recipe.parse(picture.recipe, "The picture's recipe", InvalidRecipe)
        said = {"picture": picture.id, **request.plain()}
        size = _scaled((picture.width, picture.height), request.scale, model.checkpoint.spec.vae.factor)
        if request.upscaler == "lanczos":
            changes: dict[str, Any] = {
                **dict(zip(("width", "height"), size, strict=True)),
                **{"mask": None, "extension": None, "hires": None, "variation": None},
                "start": {
                    "image": self.library.source(picture.id)[1],
                    "strength": request.strength,
                    "counting": "exact",
                },
                "steps": request.steps or recipe.steps,
            }
            sources: tuple[str, ...] = (picture.id,)
        elif recipe.mask or recipe.start:
            raise RequestRefused(
                "A picture made from another one is enlarged from its pixels: use lanczos.", "upscaler"
            )
        else:
            second = {"width": size[0], "height": size[1], "upscaler": request.upscaler}
            changes = {"hires": {**second, "strength": request.strength, "steps": request.steps}}
            sources = ()
        larger = Recipe.parse({**recipe.plain(), **changes}, "The recipe", InvalidRecipe)
        self._check(model, [larger])
        return self._job("upscale", model, said, [larger], sources, request.priority)

    def _job(
        self,
        kind: Kind,
        model: Offered,
        request: Frozen | dict[str, Any],
        recipes: Sequence[Recipe],
        sources: tuple[str, ...],
        priority: int,
        sheets: Sequence[dict[str, Any]] = (),
    ) -> NewJob:
        plain = request if isinstance(request, dict) else request.model_dump(mode="json", exclude_unset=True)
        return NewJob(
            kind=kind,
            priority=priority,
            model=model.info.digest,
            request=plain,
            recipes=tuple(recipe.plain() for recipe in recipes),
            sheets=tuple(sheets),
            sources=sources,
            alike=None if sources else alike([shared(recipe) for recipe in recipes]),
            said=digest([kind, plain]),
        )

    def _model(self, name: str | None, field: str = "model") -> Offered:
        try:
            return self.shelf.find(name)
        except NotFound as error:
            raise RequestRefused(str(error), field) from error

    def _pixels(self, id_: str, field: str) -> str:
        try:
            return self.library.source(id_)[1]
        except NotFound as error:
            raise RequestRefused(str(error), field) from error

    def _adapter(self, model: Offered, use: AdapterChoice) -> dict[str, Any]:
        try:
            identity = model.paper.library.adapter(use.id).digest
        except NotFound as error:
            raise RequestRefused(str(error), "adapters") from error
        return {"name": use.id, "identity": identity, "weight": use.weight, "text_encoder": use.text_encoder}

    def _paper(self, model: Offered, recipe: Recipe | None, second: str | None = None) -> Model:
        """Return `model` on paper, followed by the one that makes second passes: of `recipe`, or called `second`."""
        if recipe and recipe.hires and recipe.hires.model:
            second = recipe.hires.model.identity
        if second is None:
            return model.paper
        try:
            return model.paper.followed_by(self._model(second, "hires.model").paper)
        except InvalidInput as error:
            raise RequestRefused(str(error), "hires.model") from error

    def _recipes(self, model: Offered, request: GenerateRequest, count: int) -> list[Recipe]:
        choices = self._choices(model, request)
        paper = self._paper(model, None, request.hires.model if request.hires else None)
        try:
            recipes = paper.recipes(request.prompt, count, **choices)
        except NotFound as error:
            names = ("sampler", "schedule", "adapter", "embedding")
            what = next((name for name in names if f"unknown {name}" in str(error).lower()), None)
            raise RequestRefused(str(error), what if what in names[:2] else "prompt") from error
        self._check(model, recipes)
        return recipes

    def _choices(self, model: Offered, request: GenerateRequest) -> dict[str, Any]:
        choices = {key: getattr(request, key) for key in SETTINGS}
        choices["seed"] = _seed(request.seed)
        if request.start:
            image = self._pixels(request.start.image, "start.image")
            choices["start"] = {**request.start.plain(), "image": image}
        if request.mask:
            mask = self._pixels(request.mask.image, "mask.image") if request.mask.image else None
            choices["mask"] = {**request.mask.plain(), "image": mask}
        if request.hires:
            choices["hires"] = self._second_pass(model, request, request.hires)
        if request.adapters:
            choices["adapters"] = [self._adapter(model, use) for use in request.adapters]
        return {key: value for key, value in choices.items() if value is not None}

    def _second_pass(self, model: Offered, request: GenerateRequest, hires: HiresChoice) -> dict[str, Any]:
        own = model.info.resolution
        size = (hires.width, hires.height)
        if hires.scale:
            first = (request.width or own, request.height or own)
            size = _scaled(first, hires.scale, model.checkpoint.spec.vae.factor)
        told = hires.model_dump(exclude={"scale", "model"}, exclude_none=True)
        if hires.model and (other := self._model(hires.model, "hires.model").info).digest != model.info.digest:
            told["model"] = {"name": other.name, "identity": other.digest}
        return {**told, "width": size[0], "height": size[1]}

    def _check(self, model: Offered, recipes: Sequence[Recipe]) -> None:
        for recipe in recipes[:1] if alike([shared(recipe) for recipe in recipes]) else recipes:
            self._check_limits(recipe)
            if recipe.start is None:
                # Checks everything, and calculates nothing before it is asked for a step.
                self._paper(model, recipe).steps([recipe])
            else:
                check(self._paper(model, recipe), [recipe])
                counted(recipe.steps, recipe.start.strength, recipe.start.counting)

    def _check_limits(self, recipe: Recipe) -> None:
        limits, hires = self.limits, recipe.hires
        sides = {"width": recipe.width, "height": recipe.height}
        if hires:
            sides |= {"hires.width": hires.width, "hires.height": hires.height}
        for field, side in sides.items():
            if side > limits.max_side:
                raise RequestRefused(f"{field} is {side}; {limits.max_side} pixels are the most.", field)
        for field, steps in (("steps", recipe.steps), ("hires.steps", hires and hires.steps)):
            if steps and steps > limits.max_steps:
                raise RequestRefused(f"{field} is {steps}; {limits.max_steps} are the most.", field)


def shared(recipe: Recipe) -> str:
    """Return the digest of what `recipe` has in common with those that it can be made together with."""
    plain = recipe.plain()
    return digest({key: plain.get(key) for key in SHARED})


def _seed(seed: int | None) -> int:
    return secrets.randbelow(2**32) if seed is None or seed < 0 else seed


def _scaled(size: tuple[int, int], scale: float, factor: int) -> tuple[int, int]:
    """Return `size` enlarged, in whole latents."""
    multiple = max(factor, SIDE_MULTIPLE)
    width, height = (int(side * scale) // multiple * multiple for side in size)
    return width, height


def _sources(request: GenerateRequest) -> tuple[str, ...]:
    named = (request.start and request.start.image, request.mask and request.mask.image)
    return tuple(id_ for id_ in named if id_)


def _varied(base: GenerateRequest, cell: dict[Axis | None, Any]) -> GenerateRequest:
    changes = {axis.name: value for axis, value in cell.items() if axis}
    if word := changes.get("prompt"):
        changes["prompt"] = placed(base.prompt, word)
    try:
        return GenerateRequest.parse({**base.model_dump(exclude_none=True), **changes}, "A cell of the grid")
    except ImpastoError as error:
        raise RequestRefused(str(error), "axes") from error


def _sheets(base: GenerateRequest, axes: Sequence[Axis | None], recipes: Sequence[Recipe]) -> list[dict[str, Any]]:
    across, down, deep = axes
    assert across
    columns = [f"{across.name} {value}" for value in across.values]
    rows = [f"{down.name} {value}" for value in down.values] if down else []
    per_sheet = len(columns) * max(1, len(rows))
    varies = {axis.name for axis in axes if axis}
    facts = {key: getattr(recipes[0], key) for key in ("sampler", "schedule", "steps", "seed") if key not in varies}
    subtitle = ", ".join([recipes[0].model_name, *(f"{key} {value}" for key, value in facts.items())])
    titles = [f"{base.prompt}  ({deep.name} {value})" for value in deep.values] if deep else [base.prompt]
    return [
        {
            "columns": columns,
            "rows": rows,
            "title": title,
            "subtitle": subtitle,
            "cells": list(range(number * per_sheet, (number + 1) * per_sheet)),
        }
        for number, title in enumerate(titles)
    ]
