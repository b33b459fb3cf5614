"""Pictures as latents, encoded once, in buckets of one size, and the order in which they are learned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.corpus.record import Row
from impasto.models.vae import AutoencoderKL
from impasto.training.buckets import Fit
from impasto.training.draws import generator
from impasto.training.taught import Taught
from impasto.weights import files


@dataclass(frozen=True, eq=False)
class Bucket:
    """Pictures of one size.

    Attributes:
        rows: N of them.
        mean: (N, V, C, h, w) of the latents' distribution; V is 2 where pictures are mirrored too, else 1.
        std: of the same shape.
        masks: (N, V, 1, h, w), between 0 and 1; None where everything counts.
    """

    rows: tuple[Row, ...]
    mean: Tensor
    std: Tensor
    masks: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures that are learned at once.

    Attributes:
        rows: B of them.
        x0: (B, C, h, w), latents as the autoencoder scales them.
        masks: (B, 1, h, w) or None.
    """

    rows: tuple[Row, ...]
    x0: Tensor
    masks: Tensor | None


@dataclass(frozen=True, eq=False)
class Examples:
    """What is learned from.

    Attributes:
        buckets: by size.
        repeats: how often each picture is seen in an epoch.
    """

    buckets: tuple[Bucket, ...]
    repeats: int = 1

    @property
    def rows(self) -> tuple[Row, ...]:
        """All of them."""
        return tuple(row for bucket in self.buckets for row in bucket.rows)

    def batch(self, seed: int, number: int, size: int, draw: torch.Generator) -> Batch:
        """Return batch `number` (from 0) of at most `size` pictures, with latents drawn from their distributions.

        An epoch has every picture once, times its repeats, in batches of one bucket each. Pictures in a bucket and the
        batches themselves are shuffled anew for each epoch.
        """
        epoch, place = divmod(number, self.batches(size))
        which, members = self._epoch(seed, epoch, size)[place]
        bucket = self.buckets[which]
        chosen = torch.tensor(members)
        variants = torch.randint(bucket.mean.shape[1], (len(members),), generator=draw)
        mean, std = bucket.mean[chosen, variants].float(), bucket.std[chosen, variants].float()
        x0 = mean + std * torch.randn(mean.shape, generator=draw)
        masks = None if bucket.masks is None else bucket.masks[chosen, variants]
        return Batch(tuple(bucket.rows[member] for member in members), x0, masks)

    def batches(self, size: int) -> int:
        """Return how many batches of at most `size` an epoch has."""
        return sum(-(-self._seen(bucket) // size) for bucket in self.buckets)

    def _seen(self, bucket: Bucket) -> int:
        return sum(row.repeat * self.repeats for row in bucket.rows)

    def _epoch(self, seed: int, epoch: int, size: int) -> list[tuple[int, list[int]]]:
        """Return the batches of an epoch, each the number of its bucket and the pictures there."""
        draw = generator(seed, "epoch", epoch)
        batches = []
        for which, bucket in enumerate(self.buckets):
            copies = [place for place, row in enumerate(bucket.rows) for _ in range(row.repeat * self.repeats)]
            order = [copies[place] for place in torch.randperm(len(copies), generator=draw).tolist()]
            batches += [(which, order[first : first + size]) for first in range(0, len(order), size)]
        return [batches[place] for place in torch.randperm(len(batches), generator=draw).tolist()]


@dataclass(frozen=True, eq=False)
class Encoder:
    """Pictures to latents.

    Attributes:
        vae: the autoencoder.
        fits: what becomes of each row's picture, by the row's key.
        flip: also encode mirrored pictures.
        masked: whether masks count.
    """

    vae: AutoencoderKL
    fits: dict[str, Fit]
    flip: bool = False
    masked: bool = False

    def __call__(self, taught: Taught, rows: Sequence[Row]) -> Iterator[dict[str, Tensor]]:
        """Yield mean and std (V, C, h, w), and where there are masks (V, 1, h, w), of each of `rows`."""
        for row in rows:
            fit, picture = self.fits[row.key], taught.picture(row)
            found = self._encoded(fit(on_white(picture)))
            if self.masked:
                found["mask"] = self._mask(fit(mask_of(picture, taught.mask(row))), found["mean"].shape[-2:])
            yield found

    @torch.no_grad()
    def _encoded(self, picture: Image.Image) -> dict[str, Tensor]:
        weight = self.vae.quant_conv.weight
        x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
        x = torch.cat([x, x.flip(-1)]) if self.flip else x
        posteriors = [self.vae.encode(part.to(weight.device, weight.dtype)) for part in x.split(1)]
        scale = self.vae.config.scaling_factor
        mean = torch.cat([posterior.mean for posterior in posteriors]).float().cpu() * scale
        logvar = torch.cat([posterior.logvar for posterior in posteriors]).float().cpu()
        return {"mean": mean, "std": (logvar / 2).exp() * scale}

    def _mask(self, mask: Image.Image, size: Sequence[int]) -> Tensor:
        m = torch.from_numpy(np.array(mask))[None, None].float() / 255
        m = torch.cat([m, m.flip(-1)]) if self.flip else m
        return F.interpolate(m, tuple(size), mode="area")


def on_white(picture: Image.Image) -> Image.Image:
    """Return the RGBA `picture` laid on white, RGB."""
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def mask_of(picture: Image.Image, mask: Image.Image | None) -> Image.Image:
    """Return what of `picture` counts: its own `mask`, or what of it is not transparent."""
    return mask.resize(picture.size) if mask else picture.getchannel("A")


def gathered(rows: Sequence[Row], latents: Sequence[dict[str, Tensor]], repeats: int) -> Examples:
    """Return `rows` and their `latents` as examples, in buckets of one size."""
    members: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, found in enumerate(latents):
        members[tuple(found["mean"].shape)].append(place)
    buckets = [
        Bucket(
            tuple(rows[place] for place in places),
            torch.stack([latents[place]["mean"] for place in places]),
            torch.stack([latents[place]["std"] for place in places]),
            torch.stack([latents[place]["mask"] for place in places]) if "mask" in latents[places[0]] else None,
        )
        for _, places in sorted(members.items())
    ]
    return Examples(tuple(buckets), repeats)


def cached(path: Path, key: str) -> list[dict[str, Tensor]] | None:
    """Return the latents kept in the file at `path`, if they are those of `key`."""
    if not path.is_file() or (kept := files.load(path)).metadata.get("key") != key:
        return None
    latents: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name in kept:
        place, _, what = name.partition(".")
        latents[int(place)][what] = kept.read(name)
    return [latents[place] for place in sorted(latents)]


def keep(path: Path, key: str, latents: Sequence[dict[str, Tensor]]) -> None:
    """Keep `latents` under `key` in the file at `path`."""
    tensors = {f"{place}.{what}": tensor for place, found in enumerate(latents) for what, tensor in found.items()}
    files.save(path, tensors, {"key": key})
