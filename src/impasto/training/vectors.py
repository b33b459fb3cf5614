"""Word vectors, from a package of the npm registry: what a small open text model knows of which words are alike.

The format is that of winkNLP's embeddings (https://winkjs.org/wink-nlp/word-embedding.html): one JSON object with
`dimensions` and `vectors`, which has each word's numbers under the word, frequent words first; the numbers of a word
may be followed by others.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from impasto.errors import SourceUnavailable

MOST_BYTES = 1 << 30
_DIMENSIONS = re.compile(r'"dimensions"\s*:\s*(\d{1,4})')
_VECTORS = re.compile(r'"vectors"\s*:\s*\{')
_ENTRY = re.compile(r'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*\[([^\]]*)\]')


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words and where they lie.

    Attributes:
        words: frequent ones first.
        rows: word -> its row.
        values: (N, D), each of length 1, and the mean of the frequent ones taken away: without it all words are alike.
    """

    words: tuple[str, ...]
    rows: Mapping[str, int]
    values: Tensor

    def of(self, words: Collection[str]) -> Tensor | None:
        """Return the (D,) direction of `words` together, or None when none of them is known."""
        known = [self.rows[word] for word in words if word in self.rows]
        return torch.nn.functional.normalize(self.values[known].mean(0), dim=0) if known else None


def read(tarball: Path, member: str, frequent: int, wanted: Collection[str] = ()) -> WordVectors:
    """Read the `frequent` first words of the file `member` in `tarball`, and those `wanted` besides.

    Raises:
        SourceUnavailable: there is no such file, or it holds no word vectors.
    """
    text = _text(tarball, member)
    said, start = _DIMENSIONS.search(text, 0, 10_000) or _DIMENSIONS.search(text), _VECTORS.search(text)
    if said is None or start is None:
        raise SourceUnavailable(f"{member} in {tarball} holds no word vectors: it lacks `dimensions` or `vectors`.")
    width, place = int(said[1]), start.end()
    missing = set(wanted)
    found: dict[str, list[str]] = {}
    while (len(found) < frequent or missing) and (entry := _ENTRY.match(text, place)):
        word, place = str(json.loads(entry[1])), entry.end()
        if len(found) < frequent or word in missing:
            missing.discard(word)
            found[word] = entry[2].split(",", width)[:width]
    try:
        numbers = np.array(list(found.values()), dtype=np.float32)
    except ValueError as error:
        raise SourceUnavailable(f"{member} in {tarball} holds what is no number: {error}") from error
    if not found or numbers.shape[1:] != (width,):
        raise SourceUnavailable(f"{member} in {tarball} holds no word vectors of {width} numbers.")
    values = torch.nn.functional.normalize(torch.from_numpy(numbers), dim=1)
    values = torch.nn.functional.normalize(values - values[:frequent].mean(0), dim=1)
    return WordVectors(tuple(found), {word: row for row, word in enumerate(found)}, values)


def _text(tarball: Path, member: str) -> str:
    try:
        with tarfile.open(tarball, "r|gz") as archive:
            for part in archive:
                if part.name == member and (file := archive.extractfile(part)):
                    if part.size > MOST_BYTES:
                        raise SourceUnavailable(f"{member} in {tarball} has {part.size:,} bytes, over {MOST_BYTES:,}.")
                    return file.read().decode("utf-8")
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        raise SourceUnavailable(f"Cannot read {tarball}: {error}") from error
    raise SourceUnavailable(f"{tarball} has no {member}.")
