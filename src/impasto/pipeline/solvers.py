"""What a person or another program calls a way of sampling, as the fields of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from impasto.diffusion.names import Sampling, find
from impasto.diffusion.samplers import SAMPLERS
from impasto.weights.checkpoint import Settings


def understood(choices: Mapping[str, Any], settings: Settings, tool: str | None = None) -> dict[str, Any]:
    """Return the `choices` of a recipe with the names of samplers and schedules that they have in recipes.

    What a name stands for besides (an option of the sampler, say) is added where the choices do not say otherwise.

    Args:
        choices: fields of a recipe.
        settings: the model's own, for what is not chosen.
        tool: the program whose names they are; None for any.

    Raises:
        NotFound: no program knows a name; lists the closest, and all.
    """
    result = _joined(_fields(choices.get("sampler"), choices.get("schedule"), settings, tool), choices)
    hires = choices.get("hires")
    if isinstance(hires, Mapping):
        own = {key: value for key, value in hires.items() if value is not None}
        settings = settings.model_copy(update={key: result[key] for key in ("sampler", "schedule") if key in result})
        named = _fields(own.get("sampler"), own.get("schedule"), settings, tool)
        named = {key: value for key, value in named.items() if key != "first_noise"}  # it begins with a picture
        result["hires"] = _joined(named, own)
    return result


def _joined(named: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return what names stand for, and the `choices`, which count more."""
    rest = {key: value for key, value in choices.items() if key not in ("sampler", "schedule")}
    options, given = named.get("sampler_options"), rest.get("sampler_options")
    if isinstance(options, Mapping) and isinstance(given, Mapping):
        rest["sampler_options"] = {**options, **given}
    return {**named, **rest}


def _fields(sampler: Any, schedule: Any, settings: Settings, tool: str | None) -> dict[str, Any]:
    if sampler is None and schedule is None:
        return {}
    if not isinstance(sampler, str | None) or not isinstance(schedule, str | None):
        return {"sampler": sampler, "schedule": schedule}  # for the recipe to refuse
    if sampler is None:
        return {"schedule": find(settings.sampler, schedule).schedule}
    meant = find(sampler, schedule, tool)
    own = tool in (None, "impasto") and sampler.strip().casefold() in SAMPLERS
    if own and schedule is None:
        return {"sampler": meant.sampler}
    return {"sampler": meant.sampler, "schedule": meant.schedule, **({} if own else _besides(meant))}


def _besides(meant: Sampling) -> dict[str, Any]:
    """Return what `meant` is beyond a sampler and a schedule, as far as a recipe has to say so."""
    unit = "unit" if meant.unit_variance else "sigma"
    usual = "unit" if meant.sampler == "ddim" else "sigma"
    return {
        **({"sampler_options": dict(meant.options)} if meant.options else {}),
        **({"discard_penultimate": True} if meant.without_penultimate else {}),
        **({"first_noise": unit} if unit != usual else {}),
    }
