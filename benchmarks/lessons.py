"""What the judge learns from: the plan, real drawings, and how they are moved, tinted and softened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.corpus.store import Corpus
from impasto.schema import digest
from impasto.training import data
from impasto.training.autoencoder import resized
from impasto.training.data import TrainingData
from impasto.training.drawings import backgrounds, cropped, laid_on, mirrored
from impasto.training.plans import Backgrounds, OptimiserPlan, Positive, Selection, Share, Stage, TrainingPlan

BATCH = 64
STEPS = 2200


class JudgePlan(TrainingPlan):
    """Everything that determines a judge, but for the corpus.

    `select` names what it learns concepts from; `stages` have the side of what it looks at.

    Attributes:
        kind: what this plan is for.
        styles: collections that it tells apart, from all that they draw.
        widths: channels of the levels for concepts, each of half the side of the one before.
        blocks: residual blocks of each.
        near: channels of the levels for styles, a block each.
        native: side of the pictures that pieces for the style are cut from, in pixels.
        backgrounds: what drawings are laid on.
        rotation: greatest turn either way, in degrees.
        shift: greatest shift either way, as a share of the side.
        scales: smallest and largest size.
        tint: greatest change of a colour channel, as a factor and as an offset; half of it for styles.
        blurred: share of pictures that are softened, because pictures from an autoencoder are soft.
        smoothing: of the labels.
    """

    kind: Literal["judge"] = "judge"
    styles: Annotated[tuple[str, ...], Field(min_length=1)]
    widths: Annotated[tuple[int, ...], Field(min_length=1)] = (32, 64, 128, 256)
    blocks: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 1, 2, 1)
    near: Annotated[tuple[int, ...], Field(min_length=1)] = (32, 64, 128)
    native: Positive = 128
    backgrounds: Backgrounds = Backgrounds(white=0.6, named=0.25)
    rotation: Annotated[float, Field(ge=0, le=180)] = 12.0
    shift: Share = 0.08
    scales: tuple[float, float] = (0.72, 1.1)
    tint: Share = 0.1
    blurred: Share = 0.5
    smoothing: Share = 0.1

    @property
    def size(self) -> int:
        """Side of what the judge looks at, in pixels."""
        return self.stages[-1].size


def default_plan(steps: int = STEPS, seed: int = 0, **choices: object) -> JudgePlan:
    """Return the plan of the judge that the published figures come from; `choices` are further fields."""
    fields = {
        "name": "judge",
        "seed": seed,
        "stages": [Stage(size=64, batch=BATCH, steps=steps)],
        "optimiser": OptimiserPlan(name="muon", learning_rate=2e-3, weight_decay=0.05, warmup=min(50, steps // 10)),
        "ema": 0.995,
        "checkpoint_every": 250,
        "sheet_every": 500,
        "keep": 1,
        "channels_last": False,
    }
    return JudgePlan.parse({**fields, **choices}, "The judge's plan")


@dataclass(frozen=True)
class Lessons:
    """What a judge learns from and is tried on.

    Attributes:
        concepts: rows of its concepts.
        styles: rows of its styles, whatever they show.
    """

    concepts: TrainingData
    styles: TrainingData

    @property
    def identity(self) -> str:
        """Digest of which rows they are."""
        return digest([self.concepts.use.plain(), self.styles.use.plain()])


def load(corpus: Corpus, plan: JudgePlan) -> Lessons:
    """Load what `plan` asks for from `corpus`.

    Raises:
        InvalidPlan: it names concepts that the corpus does not have.
        RowRefused: the corpus holds a row that its policy does not admit.
        CorpusChanged: rows or images are not those that the corpus promises.
    """
    return Lessons(data.load(corpus, plan.select), data.load(corpus, Selection(collections=plan.styles)))


def small(drawings: Tensor, side: int) -> Tensor:
    """Return RGBA `drawings` (N, 4, H, W) uint8 at `side` x `side`, with the colours multiplied by alpha."""
    parts = []
    for part in drawings.split(256):
        values = part.float()
        values[:, :3] *= values[:, 3:] / 255
        parts.append(resized(values, side).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)


def wholes(plan: JudgePlan, drawings: Tensor, draw: torch.Generator) -> Tensor:
    """Return pictures (B, 3, S, S) in [-1, 1] of `small` drawings: moved, laid on a ground, tinted, some softened."""
    count = len(drawings)
    drawings = mirrored(drawings, torch.rand(count, generator=draw) < 0.5).float() / 255
    grid = F.affine_grid(_movements(plan, count, draw), list(drawings.shape), align_corners=False)
    moved = F.grid_sample(drawings, grid, align_corners=False)
    ground = _grounds(plan, count, draw).float()[:, :, None, None] / 255
    pictures = moved[:, :3] + ground * (1 - moved[:, 3:])
    return _worn(plan, pictures, plan.tint, draw) * 2 - 1


def pieces(plan: JudgePlan, drawings: Tensor, draw: torch.Generator) -> Tensor:
    """Return pieces (B, 3, S, S) in [-1, 1] of `drawings` (B, 4, H, W): on a ground, tinted, some softened."""
    count = len(drawings)
    drawings = mirrored(cropped(drawings, plan.size, draw), torch.rand(count, generator=draw) < 0.5)
    pictures = laid_on(drawings, _grounds(plan, count, draw)) / 2 + 0.5
    return _worn(plan, pictures, plan.tint / 2, draw) * 2 - 1


def five(pictures: Tensor, side: int) -> Tensor:
    """Return the corners and the middle of `pictures` (B, 3, H, H), (B, 5, 3, side, side)."""
    last = pictures.shape[-1] - side
    places = [(0, 0), (0, last), (last, 0), (last, last), (last // 2, last // 2)]
    return torch.stack([pictures[:, :, top : top + side, left : left + side] for top, left in places], 1)


def _grounds(plan: JudgePlan, count: int, draw: torch.Generator) -> Tensor:
    return backgrounds(count, plan.backgrounds.white, plan.backgrounds.named, draw)


def _worn(plan: JudgePlan, pictures: Tensor, tint: float, draw: torch.Generator) -> Tensor:
    """Tint `pictures` (B, 3, S, S) within [0, 1], and soften the plan's share of them, each as far as is drawn."""
    count = len(pictures)
    factor, offset = ((torch.rand(2, count, 3, 1, 1, generator=draw) * 2 - 1) * tint).unbind()
    pictures = (pictures * (1 + factor) + offset / 2).clamp(0, 1)
    fate = torch.rand(count, 1, 1, 1, generator=draw)
    strength = torch.where(fate < plan.blurred, fate / max(plan.blurred, 1e-9), 0.0)
    return pictures.lerp(F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), "replicate"), 3, 1), strength)


def _movements(plan: JudgePlan, count: int, draw: torch.Generator) -> Tensor:
    """Draw (count, 2, 3) affine maps from places in the result to places in the drawing."""
    turn, across, down = torch.rand(3, count, generator=draw) * 2 - 1
    smallest, largest = map(math.log, plan.scales)
    scale = torch.exp(smallest + (largest - smallest) * torch.rand(count, generator=draw))
    angle = turn * math.radians(plan.rotation)
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    rows = (cosine, -sine, across * 2 * plan.shift, sine, cosine, down * 2 * plan.shift)
    return torch.stack(rows, 1).view(count, 2, 3)
