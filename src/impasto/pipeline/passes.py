"""One run of a sampler: which one, over which noise levels, at which size, and how its prompts are counted."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from impasto.diffusion.samplers import SAMPLERS
from impasto.diffusion.schedules import SIGMAS, NoiseSchedule, without_penultimate
from impasto.errors import InvalidRecipe, NotFound
from impasto.prompts.grammar import Run
from impasto.recipe import AdapterUse, Counting, Recipe, SamplerOptions, ScheduleOptions


@dataclass(frozen=True, eq=False)
class Pass:
    """One run of a sampler.

    Attributes:
        sampler: its name.
        sigmas: (S + 1,) that it visits.
        height: of the latents.
        width: of the latents.
        run: the steps that prompts are read for.
        prompt: in the place of the recipes' own, or None.
        negative_prompt: in the place of the recipes' own, or None.
        options: of the sampler.
        unit: whether the first noise has variance 1 in the network's own scale.
        adapters: that are on the networks.
        highest: the first level of the whole schedule, of which `sigmas` may be the rest.
    """

    sampler: str
    sigmas: Tensor
    height: int
    width: int
    run: Run
    prompt: str | None = None
    negative_prompt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    unit: bool = False
    adapters: tuple[AdapterUse, ...] = ()
    highest: float = math.nan

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.sigmas) - 1

    @property
    def start(self) -> float:
        """How strong the first noise is, where there is nothing else to begin with.

        A sampler that begins with variance 1 in the network's scale, where `x_t = x / sqrt(1 + sigma^2)` (Song et al.
        2010.02502), begins with `sqrt(1 + sigma^2)` here; the others with noise of level sigma, as k-diffusion has it.
        """
        sigma = self.sigmas[0].item()
        return float((1 + sigma**2) ** 0.5) if self.unit else sigma


def passes(recipe: Recipe, schedule: NoiseSchedule, second: NoiseSchedule, factor: int) -> list[Pass]:
    """Return the passes of `recipe`, one or two.

    Args:
        recipe: that says what they are.
        schedule: the noise levels of the network.
        second: those of the network that makes the second pass.
        factor: pixels a latent.

    Raises:
        NotFound: no such sampler or schedule; lists those there are.
        InvalidRecipe: an option that the sampler does not have, or a strength that leaves no step.
    """
    first = _first(recipe, schedule, factor)
    return [first, _second(recipe, second, factor, first)] if recipe.hires else [first]


def _first(recipe: Recipe, schedule: NoiseSchedule, factor: int) -> Pass:
    spacing = recipe.schedule_options.given() if recipe.schedule_options else {}
    _check_spacing(recipe.schedule, spacing)
    levels = _levels(recipe.schedule, schedule, recipe.discard_penultimate, spacing)
    sampler, options = _solver(recipe.sampler, recipe.sampler_options)
    whole, run = recipe.steps, None
    if recipe.start:
        whole, run = counted(recipe.steps, recipe.start.strength, recipe.start.counting)
    sigmas = _last(levels(whole), run)
    unit = recipe.first_noise == "unit" if recipe.first_noise else recipe.sampler == "ddim"
    counts = Run(_counted(recipe, recipe.steps, sigmas))
    size = (recipe.height // factor, recipe.width // factor)
    highest = levels(whole)[0].item()
    return Pass(sampler, sigmas, *size, counts, options=options, unit=unit, adapters=recipe.adapters, highest=highest)


def _second(recipe: Recipe, schedule: NoiseSchedule, factor: int, first: Pass) -> Pass:
    hires = recipe.hires
    assert hires is not None
    own = hires if hires.sampler else recipe
    spacing = recipe.schedule_options.given() if recipe.schedule_options else {}
    levels = _levels(hires.schedule or recipe.schedule, schedule, own.discard_penultimate, spacing)
    sampler, options = _solver(hires.sampler or recipe.sampler, own.sampler_options)
    steps = hires.steps or recipe.steps
    whole, made = counted(steps, hires.strength, "exact")
    sigmas = _last(levels(whole), made)
    run = Run(_counted(recipe, steps, sigmas), before=first.run.steps)
    size = (hires.height // factor, hires.width // factor)
    adapters = recipe.adapters if hires.adapters is None else hires.adapters
    words = (hires.prompt, hires.negative_prompt)
    highest = levels(whole)[0].item()
    return Pass(sampler, sigmas, *size, run, *words, options, adapters=adapters, highest=highest)


def _counted(recipe: Recipe, steps: int, sigmas: Tensor) -> int:
    """Return of how many steps a prompt's schedule counts fractions: the web UI means those that were asked for."""
    return steps if recipe.prompt_rules == "a1111" else len(sigmas) - 1


def _levels(name: str, schedule: NoiseSchedule, discard: bool, spacing: Mapping[str, float]) -> Callable[[int], Tensor]:
    if name not in SIGMAS:
        raise NotFound.among("schedule", name, SIGMAS)
    own = {key: value for key, value in spacing.items() if key in spacing_of(name)}
    sigmas = partial(SIGMAS[name], **own)
    return partial(without_penultimate(sigmas) if discard else sigmas, schedule)


def spacing_of(schedule: str) -> list[str]:
    """Return which `ScheduleOptions` a schedule has."""
    known = inspect.signature(SIGMAS[schedule]).parameters if schedule in SIGMAS else {}
    return [key for key in ScheduleOptions.model_fields if key in known]


def _check_spacing(schedule: str, spacing: Mapping[str, float]) -> None:
    if unknown := [f"{key}={value:g}" for key, value in spacing.items() if key not in spacing_of(schedule)]:
        choices = [name for name in SIGMAS if set(spacing) <= set(spacing_of(name))]
        raise InvalidRecipe(
            f"The schedule {schedule} does not have the options {', '.join(unknown)}. These have: {', '.join(choices)}."
        )


def _solver(name: str, options: SamplerOptions | None) -> tuple[str, dict[str, Any]]:
    if name not in SAMPLERS:
        raise NotFound.among("sampler", name, SAMPLERS)
    given, known = options.given() if options else {}, [*inspect.signature(SAMPLERS[name]).parameters][4:]
    if unknown := [f"{key}={value}" for key, value in given.items() if key not in known]:
        choices = f"It knows: {', '.join(known)}." if known else "It has none."
        raise InvalidRecipe(f"The sampler {name} does not have the options {', '.join(unknown)}. {choices}")
    return name, given


def counted(steps: int, strength: float, counting: Counting) -> tuple[int, int]:
    """Return of how many steps the schedule is, and how many of them `strength` leaves; see `FromPicture.counting`.

    Raises:
        InvalidRecipe: it leaves none.
    """
    below = min(strength, 0.999)
    counts = {
        "diffusers": (steps, min(int(steps * strength), steps)),
        "a1111": (steps, int(below * steps) + 1),
        "exact": (int(steps / below), steps),
    }
    total, made = counts[counting]
    if not made:
        raise InvalidRecipe(f"A strength of {strength} leaves none of {steps} steps. Use more of either.")
    return total, made


def _last(sigmas: Tensor, steps: int | None) -> Tensor:
    return sigmas if steps is None else sigmas[max(len(sigmas) - 1 - steps, 0) :]
