"""Drawings as latents, encoded once: each on white and on some named colours, some of them mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from impasto.corpus.dataset import Drawings
from impasto.models.vae import AutoencoderKL
from impasto.training.drawings import COLOURS, laid_on, mirrored
from impasto.training.draws import generator
from impasto.weights import files

BATCH = 32
PALETTE = tuple(COLOURS)


@dataclass(frozen=True)
class Variants:
    """How each drawing is encoded, (N, V) of everything.

    Attributes:
        colours: int64 index into `PALETTE`, -1 for white.
        mirror: bool.
    """

    colours: Tensor
    mirror: Tensor

    @classmethod
    def draw(cls, may_mirror: Tensor, variants: int, seed: int) -> Variants:
        """Draw the variants of N drawings: half of them on white, the others each on a colour of its own.

        Where (N,) bool `may_mirror` allows it, every second variant on white is mirrored, and half of those on colours.
        """
        rows = len(may_mirror)
        draw = generator(seed, "variants")
        order = torch.rand(rows, len(PALETTE), generator=draw).argsort(1)
        whites = (variants + 1) // 2
        coloured = [order] * (1 + variants // len(PALETTE))
        colours = torch.cat([torch.full((rows, whites), -1), *coloured], 1)[:, :variants]
        mirror = torch.rand(rows, variants, generator=draw) < 0.5
        mirror[:, :whites] = torch.arange(whites) % 2 == 1
        return cls(colours, mirror & may_mirror[:, None])


def encode(vae: AutoencoderKL, drawings: Drawings, variants: Variants) -> Iterator[Tensor]:
    """Yield the scaled mean latents (b, C, h, w) of all variants of all `drawings`, in order, some at a time."""
    device = next(vae.parameters()).device
    palette = torch.tensor([*COLOURS.values(), (255, 255, 255)], dtype=torch.uint8)
    width = variants.colours.shape[1]
    flat_colours, flat_mirror = variants.colours.flatten(), variants.mirror.flatten()
    for first in range(0, len(flat_colours), BATCH):
        part = torch.arange(first, min(first + BATCH, len(flat_colours)))
        images = mirrored(drawings.images[part // width], flat_mirror[part])
        pictures = laid_on(images, palette[flat_colours[part]])
        with torch.no_grad():
            yield vae.encode(pictures.to(device)).mode().cpu() * vae.config.scaling_factor


def cached(path: Path, key: str) -> Tensor | None:
    """Return the latents kept in the file at `path`, if they are those of `key`."""
    if not path.is_file():
        return None
    kept = files.load(path)
    return kept.read("latents") if kept.metadata.get("key") == key else None


def keep(path: Path, key: str, latents: Tensor) -> None:
    """Keep `latents` under `key` in the file at `path`."""
    files.save(path, {"latents": latents}, {"key": key})
