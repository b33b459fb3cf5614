"""`impasto grid`: one prompt under all combinations of some settings, on a labelled sheet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from impasto.cli.generate import free, load, made, sign, sign_sheet, slug
from impasto.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from PIL.Image import Image

    from impasto.pipeline import Model, Picture
    from impasto.recipe import Recipe

AXES: dict[str, type] = {
    "seed": int,
    "steps": int,
    "guidance": float,
    "sampler": str,
    "schedule": str,
    "width": int,
    "height": int,
    "negative_prompt": str,
    "noise": str,
    "seamless": str,
    "prompt": str,
}
"""What an axis may be, and what its values are. Values of `prompt` take the place of {} in the prompt."""

MOST = 1000
Axis = tuple[str, list[Any]]


def grid(
    prompt: str,
    *,
    x: str,
    y: str | None = None,
    z: str | None = None,
    seed: int | None = None,
    steps: int | None = None,
    model: str = "glyph",
    output: Annotated[Path, Parameter(alias="-o")] = Path(),
    separate: bool = False,
    device: str = "auto",
) -> None:
    """Make a sheet of one prompt under all combinations of some settings, with labelled axes.

    An axis is a setting and its values: "steps=10,20,30", "guidance=2:8:4" for 4 values from 2 to 8,
    "sampler=euler,heun", "seed=1:4" for 1, 2, 3, 4. On "prompt=fox,owl" each value takes the place of {} in the prompt.
    All pictures have the same seed unless it is an axis.

    Args:
        prompt: what the pictures are to show.
        x: the setting that changes from left to right.
        y: the setting that changes from top to bottom.
        z: the setting that changes from sheet to sheet.
        seed: of all pictures; left out, it is drawn at random.
        steps: of all pictures.
        model: name of a model, or its folder.
        output: a folder for the sheets, or the name of a PNG file.
        separate: also save each picture, with its recipe.
        device: cpu, cuda, mps, or auto for the best there is.
    """
    across, down, deep = (axis(text) if text else ("", [None]) for text in (x, y, z))
    _check(across, down, deep)
    console = Console(stderr=True)
    with console.status(f"Loading {model} ..."):
        loaded = load(model, device, None)
    base = loaded.recipe(prompt, seed=seed, steps=steps)
    recipes = [
        _varied(loaded, base, {across[0]: a, down[0]: b, deep[0]: c})
        for c, b, a in product(deep[1], down[1], across[1])
    ]
    for recipe in recipes:
        loaded.steps(recipe)  # nothing is made before everything is known to be in order
    pictures = list(made(loaded, recipes, 1, (), console))
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
        sign(single, picture, loaded)
        print(single)


def axis(text: str) -> Axis:
    """Return the setting and the values that `text` names.

    Raises:
        InvalidInput: it is not `setting=value,value`.
        NotFound: no such setting; lists those there are.
    """
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not values.strip():
        raise InvalidInput(f"The axis {text!r} is not understood. Write a setting and its values: steps=10,20,30.")
    if name not in AXES:
        raise NotFound.among("axis", name, AXES)
    kind = AXES[name]
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


def _varied(model: Model, base: Recipe, changes: dict[str, Any]) -> Recipe:
    given = {key: value for key, value in changes.items() if key and key != "prompt"}
    plain = {key: value for key, value in base.plain().items() if key not in ("format", "prompt")}
    prompt = base.prompt
    if word := changes.get("prompt"):
        prompt = word if "{}" not in prompt else prompt.replace("{}", word)
    return model.recipe(prompt, **{**plain, **given})


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
