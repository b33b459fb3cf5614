"""`impasto grid`: one prompt under all combinations of some settings, on a labelled sheet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from impasto.cli.choices import Choices, Detail, Further, Loading, Look, Output, Parts, Source, merged
from impasto.cli.generate import free, made, sign, sign_sheet, slug
from impasto.errors import InvalidInput, NotFound
from impasto.pictures.axes import FIELDS, INSIDE, placed

if TYPE_CHECKING:
    from PIL.Image import Image

    from impasto.pipeline import Model, Picture
    from impasto.recipe import Recipe

AXES: dict[str, type] = {
    **FIELDS,
    **{name: kind for name, (_, _, kind) in INSIDE.items()},
    "hires": str,
    "replace": str,
}
"""What an axis may be, and what its values are. Those of `replace`, the first one too, take the place of the first."""

ADAPTER = "adapter:"
"""Before the name of an adapter: an axis of its weights."""

MOST = 1000
Axis = tuple[str, list[Any]]


def grid(
    prompt: str,
    *,
    x: str,
    y: str | None = None,
    z: str | None = None,
    look: Look | None = None,
    source: Source | None = None,
    further: Further | None = None,
    detail: Detail | None = None,
    loading: Loading | None = None,
    parts: Parts | None = None,
    output: Output = Path(),
    separate: bool = False,
) -> None:
    """Make a sheet of one prompt under all combinations of some settings, with labelled axes.

    An axis is a setting and its values: "steps=10,20,30", "guidance=2:8:4" for 4 values from 2 to 8,
    "sampler=euler,heun", "seed=1:4" for 1, 2, 3, 4. On "prompt=fox,owl" each value takes the place of {} in the prompt,
    on "replace=fox,owl,ship" of the word fox, and "adapter:ink=0,0.5,1" are weights of an adapter. All pictures have
    the same seed unless it is an axis.

    Args:
        prompt: what the pictures are to show.
        x: the setting that changes from left to right.
        y: the setting that changes from top to bottom.
        z: the setting that changes from sheet to sheet.
        look: what every picture has.
        source: what to begin with.
        further: what is done besides.
        detail: how exactly.
        loading: which model.
        parts: what the model is loaded with.
        output: a folder for the sheets, or the name of a PNG file.
        separate: also save each picture, with its recipe.
    """
    look, source, further, detail = look or Look(), source or Source(), further or Further(), detail or Detail()
    loading, parts = loading or Loading(), parts or Parts()
    across, down, deep = (axis(text) if text else ("", [None]) for text in (x, y, z))
    _check(across, down, deep)
    sides, images = look.sides, source.images()
    own = [look.choices(), detail.choices(), source.choices(images)]
    console = Console(stderr=True)
    with console.status(f"Loading {loading.model} ..."):
        loaded = loading.load(parts, second=further.hires_model)
    base = Base(loaded, prompt, merged(*own, further.choices(loaded, sides), parts.choices()), sides)
    recipes = [base.varied([(across, a), (down, b), (deep, c)]) for c, b, a in product(deep[1], down[1], across[1])]
    for recipe in recipes:
        loaded.steps(recipe, sources=images)  # nothing is made before everything is known to be in order
    pictures = list(made(loaded, recipes, 1, images, console))
    per_sheet = len(across[1]) * len(down[1])
    named = output.suffix.lower() == ".png"
    path = output if named else output / f"{slug(prompt)}-grid.png"
    for number, value in enumerate(deep[1]):
        part = pictures[number * per_sheet : (number + 1) * per_sheet]
        title = f"{prompt}  ({deep[0]} {value})" if deep[0] else prompt
        sheet = _save(part, across, down, title, free(path))
        sign_sheet(sheet, part[0].recipe)
        print(sheet)
    for picture in pictures if separate else ():
        single = free(path.with_name(f"{path.stem}-{picture.recipe.seed}.png"))
        picture.save(single)
        sign(single, picture, loaded, source.files[:1])
        print(single)


def axis(text: str) -> Axis:
    """Return the setting and the values that `text` names.

    Raises:
        InvalidInput: it is not `setting=value,value`.
        NotFound: no such setting; lists those there are.
    """
    name, equals, values = text.partition("=")
    name = name.strip() if name.strip().startswith(ADAPTER) else name.strip().replace("-", "_")
    if not equals or not values.strip():
        raise InvalidInput(f"The axis {text!r} is not understood. Write a setting and its values: steps=10,20,30.")
    if name not in AXES and not name.startswith(ADAPTER):
        raise NotFound.among("axis", name, [*AXES, f"{ADAPTER}NAME"])
    kind = AXES.get(name, float)
    if kind is not str and (match := re.fullmatch(r"\s*([\d.]+):([\d.]+)(?::(\d+))?\s*", values)):
        return name, _range(float(match[1]), float(match[2]), match[3], kind)
    try:
        return name, [kind(value.strip()) for value in values.split(",")]
    except ValueError as error:
        raise InvalidInput(f"The axis {text!r} has a value that {name} cannot be: {error}.") from error


def _range(first: float, last: float, count: str | None, kind: type) -> list[Any]:
    n = int(count) if count else round(last - first) + 1
    if not 1 <= n <= MOST or last < first:
        raise InvalidInput(f"An axis from {first:g} to {last:g} in {n} values cannot be made; up to {MOST} can.")
    step = (last - first) / max(n - 1, 1)
    return [kind(round(first + k * step, 6)) for k in range(n)]


def _check(*axes: Axis) -> None:
    names = [name for name, _ in axes if name]
    if len(set(names)) < len(names):
        raise InvalidInput(f"An axis is given twice: {', '.join(names)}. Give each setting once.")
    count = 1
    for _, values in axes:
        count *= len(values)
    if count > MOST:
        raise InvalidInput(f"That would be {count} pictures; {MOST} are the most. Give fewer values.")


class Base:
    """What all pictures of a grid have in common.

    Args:
        model: that makes them.
        prompt: of all.
        choices: of the recipes of all; where there is no seed, one is drawn.
        sides: width and height of the first pass, as far as they were said.
    """

    def __init__(self, model: Model, prompt: str, choices: Choices, sides: tuple[int | None, int | None]) -> None:
        self._model, self._prompt, self._sides = model, prompt, sides
        self._choices = {"seed": model.recipe("").seed, **choices}

    def varied(self, changes: Sequence[tuple[Axis, Any]]) -> Recipe:
        """Return the recipe that has these values on these axes."""
        prompt, choices = self._prompt, dict(self._choices)
        for (name, values), value in changes:
            if name == "prompt":
                prompt = placed(prompt, str(value))
            elif name == "replace":
                prompt = _replaced(prompt, str(values[0]), str(value))
            elif name:
                self._change(choices, name, value)
        return self._model.recipe(prompt, **choices)

    def _change(self, choices: Choices, name: str, value: Any) -> None:
        if name.startswith(ADAPTER):
            adapter = name.removeprefix(ADAPTER)
            others = [use for use in choices.get("adapters", []) if use["name"] != adapter]
            choices["adapters"] = [*others, {"name": adapter, "weight": value}]
        elif name == "hires":
            second = Further(hires=value).choices(self._model, self._sides)["hires"] or {}
            kept = {key: its for key, its in (choices.get("hires") or second).items() if key not in ("width", "height")}
            choices["hires"] = {**kept, "width": second["width"], "height": second["height"]}
        elif name in INSIDE:
            whole, part, _ = INSIDE[name]
            if whole not in choices and whole != "sampler_options":
                option = {"start": "--image", "hires": "--hires", "variation": "--variation-seed"}[whole]
                raise InvalidInput(f"An axis of {name} needs {option}.")
            choices[whole] = {**choices.get(whole, {}), part: value}
        else:
            choices[name] = value


def _replaced(prompt: str, searched: str, value: str) -> str:
    if searched not in prompt:
        raise InvalidInput(f"The prompt {prompt!r:.60} has no {searched!r} to replace, which the axis begins with.")
    return prompt.replace(searched, value)


def _save(pictures: Sequence[Picture], across: Axis, down: Axis, title: str, path: Path) -> Path:
    from impasto.pictures import png
    from impasto.pictures.sheet import labelled_grid

    images: list[Image] = [picture.image for picture in pictures]
    columns = [f"{across[0]} {value}" for value in across[1]]
    rows = [f"{down[0]} {value}" for value in down[1]] if down[0] else []
    recipe = pictures[0].recipe
    varies = {across[0], down[0]}
    facts = {"sampler": recipe.sampler, "schedule": recipe.schedule, "steps": recipe.steps, "seed": recipe.seed}
    told = ", ".join([recipe.model_name, *(f"{key} {value}" for key, value in facts.items() if key not in varies)])
    png.save(labelled_grid(images, columns, rows, title=title, subtitle=told), path)
    return path
