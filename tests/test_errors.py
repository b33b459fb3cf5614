from __future__ import annotations

import inspect
import re

import pytest

from impasto import errors
from impasto.errors import ImpastoError, KeyMismatch, NotFound

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]


def drawn_tree() -> dict[str, str | None]:
    """Each name in the drawing of the module's docstring, with the name above it."""
    above: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([│├└─ ]*)(\w+)(?:   |$)", line):
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            above[match[2]] = path[depth - 1] if depth else None
    return above


def test_drawing_is_the_tree() -> None:
    real = {c.__name__: None if c is ImpastoError else c.__mro__[1].__name__ for c in CLASSES}

    assert drawn_tree() == real


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_error_says_when_it_is_raised(error: type[ImpastoError]) -> None:
    assert issubclass(error, ImpastoError)
    assert error.__doc__


def test_not_found_lists_what_there_is() -> None:
    error = NotFound.among("sampler", "ueler", ["heun", "euler"])

    assert str(error) == "Unknown sampler 'ueler'. Choose one of: euler, heun."


def test_key_mismatch_lists_every_side() -> None:
    error = KeyMismatch("unet", unknown=["b", "a"], missing=["c"], misshapen=["d: (2,) for (3,)"])

    assert (error.unknown, error.missing, error.misshapen) == (["a", "b"], ["c"], ["d: (2,) for (3,)"])
    assert str(error).splitlines() == [
        "unet does not fit the model; nothing was loaded.",
        "  unknown (2): a, b",
        "  missing (1): c",
        "  wrong shape (1): d: (2,) for (3,)",
    ]


def test_key_mismatch_leaves_out_empty_sides() -> None:
    assert str(KeyMismatch("unet", [], ["c"])).count("\n") == 1


def test_names_out_of_a_file_cannot_steer_a_terminal() -> None:
    error = errors.KeyMismatch("x.safetensors", ["\x1b[2Jnice"], [])
    assert "\x1b" not in str(error)
    assert error.unknown == ["\x1b[2Jnice"]
