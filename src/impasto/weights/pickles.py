"""What torch.save wrote (`.ckpt`, `.pt`, `.bin`), read without running anything in it.

pickle_reader.py says where the tensors lie; they are then mapped in place, as those of a safetensors file are. On every
system it makes nothing but plain data, by tables of its own, whatever the file names. It runs in a process of its own
that has the open file and an empty environment. What that process is kept from besides:

- Linux: opening files and connections, starting processes, writing; more than `Limits` of processor time and memory.
- macOS: the same, as far as the system takes the limits; memory is not limited by some of its versions.
- Windows: running for longer than `Limits.wall`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impasto.errors import NotFound, UnreadableWeights
from impasto.weights.files import DTYPES, Entry, TensorFile

READER = Path(__file__).with_name("pickle_reader.py")


@dataclass(frozen=True)
class Limits:
    """What reading may take.

    Attributes:
        seconds: of processor time.
        memory: bytes of address space.
        wall: seconds by the clock.
    """

    seconds: int = 120
    memory: int = 2 << 30
    wall: int = 1800


LIMITS = Limits()


def load(path: Path, limits: Limits = LIMITS) -> TensorFile:
    """Open the zip at `path` that torch.save wrote.

    Raises:
        NotFound: no such file.
        UnreadableWeights: it is damaged, or asks for anything but tensors and plain data; names what it asks for.
    """
    return _load(path, "zip", limits)


def load_old(path: Path, limits: Limits = LIMITS) -> TensorFile:
    """Open the file at `path` that torch.save wrote before version 1.6; see `load`."""
    return _load(path, "pickle", limits)


def _load(path: Path, kind: str, limits: Limits) -> TensorFile:
    answer = _answer(path, kind, limits)
    if "refused" in answer:
        raise UnreadableWeights(
            f"{path} is not only weights, and nothing in it was run. Refused: {answer['refused']}. Do not load it "
            "elsewhere unless you trust whoever made it; ask for the model as safetensors."
        )
    if "broken" in answer:
        raise UnreadableWeights(f"{path} is damaged, or not what torch.save writes: {answer['broken']}.")
    try:
        size = path.stat().st_size
        entries = {name: _entry(told, size) for name, told in answer["tensors"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableWeights(f"{path} could not be read: its reader answered nonsense ({error}).") from error
    return TensorFile(path, (entries, answer["metadata"]))


def _answer(path: Path, kind: str, limits: Limits) -> dict[str, Any]:
    words = [sys.executable, "-I", "-S", "-B", str(READER), kind, str(limits.seconds), str(limits.memory)]
    environment = {key: os.environ[key] for key in ("SYSTEMROOT",) if key in os.environ}  # Python needs it on Windows
    try:
        with path.open("rb") as file:
            run = subprocess.run(
                words, stdin=file, capture_output=True, env=environment, timeout=limits.wall, check=False
            )
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror or error}.") from error
    except subprocess.TimeoutExpired:
        raise UnreadableWeights(
            f"{path} was not read within {limits.wall} seconds. It is hostile, or far too large."
        ) from None
    try:
        answer = json.loads(run.stdout)
    except ValueError:
        answer = None
    if run.returncode or not isinstance(answer, dict):
        allowed = f"{limits.seconds} seconds and {limits.memory >> 20} MB"
        raise UnreadableWeights(f"{path} could not be read within {allowed}: its reader ended with {run.returncode}.")
    return answer


def _entry(told: list[Any], size: int) -> Entry:
    """Return the entry that the reader describes, if it lies in the file: the reader is not simply believed."""
    dtype, shape, strides, start, end = told
    kind = DTYPES[dtype]
    numbers = [*shape, *(strides or []), start, end]
    extent = math.prod(shape)
    if strides is not None:
        extent = 1 + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if not all(type(n) is int and n >= 0 for n in numbers) or not start <= end <= size:
        raise ValueError(f"{numbers} in {size} bytes")
    if extent * kind.itemsize != end - start:
        raise ValueError(f"{shape} in {end - start} bytes")
    return Entry(kind, tuple(shape), start, end, tuple(strides) if strides is not None else None)
