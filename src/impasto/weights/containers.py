"""Ways to keep tensors in a file: which one a file is, decided by its content and never by its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from impasto.errors import NotFound, UnreadableWeights
from impasto.weights import files, pickles
from impasto.weights.files import TensorFile

BEGINNING = 512


@dataclass(frozen=True)
class Container:
    """A way to keep tensors in a file.

    Attributes:
        pattern: of the file's first bytes.
        what: it is, in words.
        open: how it is opened; None for what is not read here.
        instead: what to do about a file that is not read here.
    """

    pattern: re.Pattern[bytes]
    what: str
    open: Callable[[Path], TensorFile] | None = None
    instead: str = ""


def _row(pattern: bytes, what: str, opener: Callable[[Path], TensorFile] | None = None, instead: str = "") -> Container:
    return Container(re.compile(pattern, re.DOTALL), what, opener, instead)


CONTAINERS = {
    "safetensors": _row(rb".{5}\0\0\0\{", "a safetensors file", files.load),
    "zip": _row(rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a zip file, as torch.save writes", pickles.load),
    "pickle": _row(rb"\x80[\x01-\x05]", "a pickle, as torch.save wrote before 1.6", pickles.load_old),
    "gguf": _row(rb"GGUF", "a GGUF file", instead="Get the model as safetensors."),
    "tar": _row(
        rb".{257}ustar", "a tar archive", instead="Open it with an old torch where it may run, and save it anew."
    ),
    "gzip": _row(rb"\x1f\x8b", "gzipped", instead="Unpack it first."),
    "lfs": _row(rb"version https://git-lfs", "a pointer of Git LFS", instead="Run `git lfs pull`."),
    "page": _row(rb"(?i)\s*<(!doctype|html|\?xml)", "a web page", instead="Download the file itself."),
    "png": _row(rb"\x89PNG", "a picture", instead="`impasto adapter` reads an embedding in it."),
    "hdf5": _row(rb"\x89HDF", "an HDF5 file", instead="Get the model as safetensors."),
}
"""Ways to keep tensors in a file, by name; the first whose pattern fits is taken."""


def container(path: Path) -> str:
    """Return the name in `CONTAINERS` of what the file at `path` is.

    Raises:
        NotFound: it cannot be read.
        UnreadableWeights: it is nothing that is known here.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(BEGINNING)
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror or error}.") from error
    name = next((name for name, row in CONTAINERS.items() if row.pattern.match(beginning)), None)
    if name is None:
        raise UnreadableWeights(f"{path} is no file of weights: it begins with {beginning[:16]!r}. {_read_here()}")
    return name


def open_tensors(path: Path) -> TensorFile:
    """Open the file at `path`, whatever it is.

    Raises:
        NotFound: it cannot be read.
        UnreadableWeights: not a well-formed file of a kind that is read here, or one that holds more than weights.
    """
    row = CONTAINERS[container(path)]
    if row.open is None:
        raise UnreadableWeights(f"{path} is {row.what}. {row.instead} {_read_here()}")
    return row.open(path)


def _read_here() -> str:
    return f"Read here are {', '.join(name for name, row in CONTAINERS.items() if row.open)} and diffusers folders."
