"""How near pictures come to training images, and how far apart they are among themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.judge import Judge
from impasto.models.vae import AutoencoderKL
from impasto.training.autoencoder import resized

Space = Callable[[Tensor], Tensor]
"""Pictures (B, 3, H, W) within [-1, 1] to points (B, D), whose distances are root mean squares or chords."""

PIXELS = 32
NEAREST = 0.05
"""Share of held-out real drawings that count as near copies by the threshold: it is their 5 % quantile."""


def pixels(pictures: Tensor) -> Tensor:
    """Return the pictures at 32 px, so that what a pixel's shift changes hardly counts."""
    flat = resized(pictures, PIXELS).flatten(1) / 2
    return flat.div(math.sqrt(flat.shape[1]))


def latents(vae: AutoencoderKL) -> Space:
    """Return the space of the mean latents of `vae`."""

    @torch.inference_mode()
    def encoded(pictures: Tensor) -> Tensor:
        flat = torch.cat([vae.encode(part).mode() for part in pictures.split(16)]).flatten(1)
        return flat.div(math.sqrt(flat.shape[1]))

    return encoded


def features(judge: Judge) -> Space:
    """Return the space of the features of `judge`."""
    return lambda pictures: judge(pictures).features


def nearest(points: Tensor, bank: Tensor) -> Tensor:
    """Return the distances (B,) of `points` (B, D) from the nearest of `bank` (N, D)."""
    return torch.cat([torch.cdist(part, bank).amin(1) for part in points.split(256)])


def threshold(held_out: Tensor, bank: Tensor) -> float:
    """Return the distance below which a picture is a near copy: what 5 % of real `held_out` drawings fall below."""
    return float(torch.quantile(nearest(held_out, bank), NEAREST))


def both_ways(pictures: Tensor) -> Tensor:
    """Return `pictures` and their mirror images: training sees both."""
    return torch.cat([pictures, pictures.flip(-1)])


def spread(points: Tensor) -> float:
    """Return the mean distance of `points` (B, D), two or more, from one another."""
    return float(torch.pdist(points).mean())


def spaces(judge: Judge, vae: AutoencoderKL | None) -> Iterator[tuple[str, Space]]:
    """Yield name and space; that of the latents takes longest, and is left out without a `vae`."""
    yield "pixels", pixels
    yield "judge features", features(judge)
    if vae is not None:
        yield "latents", latents(vae)
