"""Textual inversions inside pictures, as A1111 shares them: JSON in a text chunk, or in the low bits of both borders.

Format: leeroopedia.com, "Embedding serialization" (the text chunk `sd-ti-embedding`: base64 of JSON, in which a tensor
is `{"TORCHTENSOR": nested lists}`); github.com/welpo/png-to-pt-embedding, its README (the borders). Left of the first
and right of the last column whose low four bits are all zero lie the two halves of every byte, each XORed with the
low bits of a linear congruential generator (Press et al., "Numerical Recipes", section 7.1; from 0, modulo 255).
Together they are zlib's compression of the same JSON.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from impasto.errors import NotFound, UnreadableWeights
from impasto.pictures.formats import DAMAGED

TEXT = "sd-ti-embedding"
PARAMETERS, TENSOR = "string_to_param", "TORCHTENSOR"

BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"RIFF")
"""First bytes of the pictures that A1111 reads embeddings from: PNG and WebP."""

MOST_PIXELS = 40_000_000
MOST_JSON = 16 << 20  # bytes; 75 vectors of 1,024 numbers take two million
MOST_HIDDEN = 4 << 20  # half bytes in a border


def is_picture(path: Path) -> bool:
    """Return whether the file at `path` begins as a picture does that may hold an embedding.

    Raises:
        NotFound: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(BEGINNINGS)
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror or error}.") from error


def tells(path: Path) -> bool:
    """Return whether the picture at `path` says in its texts that it holds an embedding; its pixels are not read."""
    try:
        with Image.open(path) as image:
            return TEXT in image.info
    except (*DAMAGED, OSError):
        return False


def read(path: Path) -> dict[str, Any] | None:
    """Return what the embedding in the picture at `path` holds, its vectors as tensors; None where there is none.

    Returns:
        `string_to_param`: vectors (N, D) float32 by the word that they were learned for; and what else is said, such as
        `name`, `step` and `sd_checkpoint_name`.

    Raises:
        NotFound: no such file.
        UnreadableWeights: a damaged picture, or one whose embedding is none.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UnreadableWeights(f"{path} has {image.width}x{image.height} pixels: too many for an embedding.")
            image.load()
            text = image.info.get(TEXT)
            content = _decoded(text, path) if isinstance(text, str) else _hidden(np.asarray(image.convert("RGB")))
    except UnidentifiedImageError as error:
        raise UnreadableWeights(f"{path} is not a picture that can be read here.") from error
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}.") from error
    except (*DAMAGED, OSError) as error:
        raise UnreadableWeights(f"{path} is a damaged picture: {error}") from error
    return None if content is None else _parsed(content, path)


def _decoded(text: str, path: Path) -> bytes:
    if len(text) > MOST_JSON * 4 // 3:
        raise UnreadableWeights(f"{path} says {len(text):,} characters in {TEXT}: too much for an embedding.")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise UnreadableWeights(f"{path}: what it says in {TEXT} is not base64: {error}.") from None


def _hidden(pixels: NDArray[np.uint8]) -> bytes | None:
    """Return what is hidden in the borders of `pixels` (H, W, 3), None for a picture like any other."""
    low = _cropped(pixels) & 15
    empty = np.flatnonzero(low.sum(axis=(0, 2), dtype=np.int64) == 0)
    if len(empty) < 2:
        return None
    left, right = low[:, : empty[0]].ravel(), low[:, empty[-1] + 1 :].ravel()
    if not 0 < left.size == right.size <= MOST_HIDDEN:
        return None
    key = _stream(left.size)
    whole = left ^ key | (right ^ key) << 4
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(whole.tobytes(), MOST_JSON)
    except zlib.error:
        return None
    return content if inflate.eof else None


def _cropped(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return `pixels` without rows and columns at the edges in which none has all three colours above 0."""
    lit: NDArray[np.bool_] = np.all(pixels > 0, axis=2)
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if rows.size else pixels[:0]


def _stream(count: int) -> NDArray[np.uint8]:
    numbers, state = np.empty(count, np.uint8), 0
    for index in range(count):
        state = (1664525 * state + 1013904223) % 2**32
        numbers[index] = state % 255 & 15
    return numbers


def _parsed(content: bytes, path: Path) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableWeights(f"{path}: the embedding in it is not JSON: {error}.") from None
    held = said.get(PARAMETERS) if isinstance(said, dict) else None
    if not isinstance(held, dict) or not held:
        raise UnreadableWeights(f"{path}: the embedding in it has no {PARAMETERS}.")
    return {**said, PARAMETERS: {word: _tensor(value, path) for word, value in held.items()}}


def _tensor(value: Any, path: Path) -> Tensor:
    try:
        return torch.tensor(value[TENSOR], dtype=torch.float32)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise UnreadableWeights(f"{path}: the embedding in it is not of numbers: {error}") from None
