"""The judge of Glyph's pictures: a small classifier that says what a picture shows and in whose style it is drawn.

It learns from real drawings alone, and only from rows that Glyph may learn from too: the held-out ones show how far it
can be believed. It shares nothing with Glyph, no weights, no latents and no words.

The network is a residual one with pre-activation (He et al. 1603.05027) and group norms, on pictures of 64 px.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from impasto.corpus.dataset import Drawings
from impasto.errors import InvalidInput
from impasto.pictures.sheet import contact_sheet
from impasto.schema import digest
from impasto.training.autoencoder import as_image, resized
from impasto.training.data import TrainingData
from impasto.training.drawings import backgrounds, laid_on, mirrored, white
from impasto.training.draws import generator, shuffled
from impasto.training.initial import fresh
from impasto.training.loop import Loss, Run, Tick, autocast
from impasto.training.plans import Backgrounds, OptimiserPlan, Share, Stage, TrainingPlan
from impasto.weights import files

BATCH = 64
SHEET_ROWS = 48
NO_STYLE = -100  # what cross_entropy passes over
STEPS = 3000


class JudgePlan(TrainingPlan):
    """Everything that determines a judge, but for the corpus.

    Attributes:
        kind: what this plan is for.
        styles: collections that it tells apart; rows of others teach it concepts only.
        widths: channels of the levels, each of half the side of the one before.
        blocks: residual blocks of each level.
        backgrounds: what drawings are laid on.
        rotation: greatest turn either way, in degrees.
        shift: greatest shift either way, as a share of the side.
        scales: smallest and largest size.
        tint: greatest change of a colour channel, as a factor and as an offset.
        blurred: share of pictures that are softened, because pictures from an autoencoder are soft.
        smoothing: of the labels.
        style_weight: of telling styles apart, beside concepts.
    """

    kind: Literal["judge"] = "judge"
    styles: Annotated[tuple[str, ...], Field(min_length=1)]
    widths: Annotated[tuple[int, ...], Field(min_length=1)] = (32, 64, 128, 256)
    blocks: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 1, 2, 1)
    backgrounds: Backgrounds = Backgrounds(white=0.6, named=0.25)
    rotation: Annotated[float, Field(ge=0, le=180)] = 12.0
    shift: Share = 0.08
    scales: tuple[float, float] = (0.72, 1.1)
    tint: Share = 0.1
    blurred: Share = 0.5
    smoothing: Share = 0.1
    style_weight: Annotated[float, Field(ge=0)] = 0.5

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
        "optimiser": OptimiserPlan(learning_rate=2e-3, weight_decay=0.05, warmup=min(100, steps // 10)),
        "ema": 0.998,
        "checkpoint_every": 250,
        "sheet_every": 500,
        "keep": 1,
        "channels_last": False,
    }
    return JudgePlan.parse({**fields, **choices}, "The judge's plan")


@dataclass(frozen=True, eq=False)
class Opinion:
    """What the judge says of B pictures.

    Attributes:
        features: (B, D), of length 1.
        concepts: (B, K) scores, in the order of the judge's concepts.
        styles: (B, S) scores, in the order of its styles.
    """

    features: Tensor
    concepts: Tensor
    styles: Tensor


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm2 = nn.GroupNorm(8, outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.way_around = nn.Conv2d(inside, outside, 1, stride) if inside != outside or stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H / stride, W / stride)."""
        h = F.silu(self.norm1(x))
        h = self.conv2(F.silu(self.norm2(self.conv1(h))))
        around: Tensor = self.way_around(x)
        return torch.add(around, h)


class JudgeNetwork(nn.Module):
    """Pictures (B, 3, S, S) within [-1, 1] to an `Opinion`."""

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], concepts: int, styles: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, 2, 1)
        levels, inside = [], widths[0]
        for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            strides = [1 if level == 0 else 2] + [1] * (count - 1)
            for stride in strides:
                levels.append(Block(inside, width, stride))
                inside = width
        self.levels = nn.Sequential(*levels)
        self.norm = nn.LayerNorm(inside)
        self.concepts = nn.Linear(inside, concepts)
        self.styles = nn.Linear(inside, styles)

    def forward(self, pictures: Tensor) -> Opinion:
        """Return what is to be said of `pictures`."""
        pooled: Tensor = self.norm(F.silu(self.levels(self.stem(pictures))).mean((2, 3)))
        return Opinion(F.normalize(pooled, dim=1), self.concepts(pooled), self.styles(pooled))


def small(drawings: Tensor, side: int) -> Tensor:
    """Return RGBA `drawings` (N, 4, H, W) uint8 at `side` x `side`, with the colours multiplied by alpha."""
    parts = []
    for part in drawings.split(256):
        values = part.float()
        values[:, :3] *= values[:, 3:] / 255
        parts.append(resized(values, side).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)


def augmented(plan: JudgePlan, drawings: Tensor, draw: torch.Generator) -> Tensor:
    """Return pictures (B, 3, S, S) in [-1, 1] of `small` drawings, moved, laid on a ground, tinted, some softened."""
    count = len(drawings)
    drawings = mirrored(drawings, torch.rand(count, generator=draw) < 0.5).float() / 255
    grid = F.affine_grid(_movements(plan, count, draw), list(drawings.shape), align_corners=False)
    moved = F.grid_sample(drawings, grid, align_corners=False)
    ground = backgrounds(count, plan.backgrounds.white, plan.backgrounds.named, draw).float()[:, :, None, None] / 255
    pictures = moved[:, :3] + ground * (1 - moved[:, 3:])
    factor, offset = ((torch.rand(2, count, 3, 1, 1, generator=draw) * 2 - 1) * plan.tint).unbind()
    pictures = (pictures * (1 + factor) + offset / 2).clamp(0, 1)
    soft = torch.rand(count, 1, 1, 1, generator=draw)
    strength = torch.where(soft < plan.blurred, soft / max(plan.blurred, 1e-9), 0.0)
    pictures = pictures.lerp(F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), "replicate"), 3, 1), strength)
    return pictures * 2 - 1


def _movements(plan: JudgePlan, count: int, draw: torch.Generator) -> Tensor:
    """Draw (count, 2, 3) affine maps from places in the result to places in the drawing."""
    turn, across, down = torch.rand(3, count, generator=draw) * 2 - 1
    smallest, largest = map(math.log, plan.scales)
    scale = torch.exp(smallest + (largest - smallest) * torch.rand(count, generator=draw))
    angle = turn * math.radians(plan.rotation)
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    rows = (cosine, -sine, across * 2 * plan.shift, sine, cosine, down * 2 * plan.shift)
    return torch.stack(rows, 1).view(count, 2, 3)


class JudgeTask:
    """A judge learning from drawings (see `impasto.training.loop.Task`).

    Attributes:
        plan: what is learned.
        modules: `{"judge": JudgeNetwork}`.
        identity: digest of plan and rows.
    """

    def __init__(self, plan: JudgePlan, data: TrainingData) -> None:
        """Prepare training on `data`, whose rows have concepts of the plan."""
        self.plan, self.data = plan, data
        network = fresh(lambda: _network(plan), plan.seed, "judge", zeros=("conv2",))
        self.modules = nn.ModuleDict({"judge": network})
        self.identity = digest({"plan": plan.plain(), "rows": data.use.plain()})
        self._images = small(data.train.images, plan.size)
        self._concepts, self._styles = labels(plan, data.train)

    def loss(self, step: int) -> Loss:
        """Return the cross entropy of concepts and styles on the batch that belongs to `step`."""
        stage, seen = self.plan.place(step)
        rows = shuffled(self.plan.seed, seen, stage.batch, len(self._images))
        pictures = augmented(self.plan, self._images[rows], generator(self.plan.seed, "augment", step))
        with autocast(self.plan.precision, pictures.device):
            opinion = self.modules["judge"](pictures)
        smoothing, styles = self.plan.smoothing, self._styles[rows]
        concept = F.cross_entropy(opinion.concepts.float(), self._concepts[rows], label_smoothing=smoothing)
        style = F.cross_entropy(opinion.styles.float(), styles, label_smoothing=smoothing, reduction="sum")
        style = style / (styles != NO_STYLE).sum().clamp(min=1)
        parts = {"concept": float(concept.detach()), "style": float(style.detach())}
        return Loss(concept + self.plan.style_weight * style, stage.batch, parts)

    def validate(self, modules: nn.ModuleDict) -> dict[str, float]:
        """Return how often the judge is right on held-out drawings on white, among all its concepts."""
        return accuracy(Judge(self.plan, modules["judge"]), self.data.held_out) if self.data.held_out else {}

    def sheet(self, modules: nn.ModuleDict, title: str) -> Image.Image:
        """Return held-out drawings (training ones where none are held out) with what the judge says of them."""
        judge, source = Judge(self.plan, modules["judge"]), self.data.held_out or self.data.train
        chosen = shuffled(0, 0, min(SHEET_ROWS, len(source.rows)), len(source.rows))
        pictures = laid_on(source.images[chosen], white(len(chosen)))
        opinion = judge(pictures)
        captions = [
            f"{judge.concepts[concept]}, {judge.styles[style]}"
            for concept, style in zip(
                opinion.concepts.argmax(1).tolist(), opinion.styles.argmax(1).tolist(), strict=True
            )
        ]
        return contact_sheet([as_image(picture) for picture in pictures], captions, title=title)


class Judge:
    """A finished judge.

    Attributes:
        plan: that it was trained by.
        concepts: names of its concepts, in the order of its scores.
        styles: collections, in the order of its scores.
    """

    def __init__(self, plan: JudgePlan, network: nn.Module) -> None:
        self.plan, self._network = plan, network.eval()
        self.concepts, self.styles = plan.select.concepts, plan.styles

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Opinion:
        """Return the opinion on `pictures` (B, 3, H, W) within [-1, 1], of any size."""
        parts = [self._network(resized(part, self.plan.size)) for part in pictures.split(BATCH)]
        return Opinion(*(torch.cat([getattr(part, name) for part in parts]) for name in Opinion.__annotations__))

    @property
    def digest(self) -> str:
        """Digest of its weights."""
        return files.tensors_digest(self._network.state_dict())

    def save(self, path: Path, task: JudgeTask) -> None:
        """Write the judge to `path`, with its plan, the digest of the rows it learned from, and how good it is."""
        use = task.data.use
        about = {
            "plan": self.plan.canonical().decode(),
            "corpus": use.root,
            "rows": use.selection,
            "row_count": str(use.rows),
            "identity": task.identity,
            "held_out": json.dumps(task.validate(nn.ModuleDict({"judge": self._network}))),
        }
        files.save(path, {name: tensor.contiguous() for name, tensor in self._network.state_dict().items()}, about)


def load(path: Path) -> Judge:
    """Load the judge in the file at `path`.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is not a judge.
        UnreadableWeights: it is not a safetensors file.
    """
    file = files.load(path)
    if "plan" not in file.metadata:
        raise InvalidInput(f"{path} is not a judge. Make one with: python benchmarks/glyph.py judge")
    plan = JudgePlan.parse(json.loads(file.metadata["plan"]), str(path))
    network = _network(plan)
    network.load_state_dict({name: file.read(name) for name in file})
    return Judge(plan, network)


def train(plan: JudgePlan, data: TrainingData, path: Path) -> Iterator[Tick]:
    """Train a judge and write it to `path`; a training that was stopped goes on from the folder `path`.run.

    Nothing happens when the judge of this plan and these rows is there already.

    Raises:
        StateMismatch: the folder holds another training.
        NotFinite: the training went astray.
    """
    task = JudgeTask(plan, data)
    if path.is_file() and files.load(path).metadata.get("identity") == task.identity:
        return
    run = Run(task, path.with_name(f"{path.name}.run"))
    yield from run.steps()
    Judge(plan, run.learner.ema.modules["judge"]).save(path, task)


def labels(plan: JudgePlan, drawings: Drawings) -> tuple[Tensor, Tensor]:
    """Return the numbers (N,) of the concepts and of the styles of `drawings`, `NO_STYLE` for other collections."""
    concepts = {name: number for number, name in enumerate(plan.select.concepts)}
    styles = {name: number for number, name in enumerate(plan.styles)}
    return (
        torch.tensor([concepts[row.concept or ""] for row in drawings.rows]),
        torch.tensor([styles.get(row.source.collection, NO_STYLE) for row in drawings.rows]),
    )


def accuracy(judge: Judge, drawings: Drawings) -> dict[str, float]:
    """Return the shares of `drawings`, laid on white, whose concept is found first, among five, and whose style is."""
    opinion = judge(laid_on(drawings.images, white(len(drawings.rows))))
    concepts, styles = labels(judge.plan, drawings)
    places, styled = ranks(opinion.concepts, concepts), styles != NO_STYLE
    found = {"concept_r1": (places < 1).float().mean(), "concept_r5": (places < 5).float().mean()}
    if styled.any():
        found["style_r1"] = (ranks(opinion.styles[styled], styles[styled]) < 1).float().mean()
    return {name: float(value) for name, value in found.items()}


def ranks(scores: Tensor, asked: Tensor) -> Tensor:
    """Return how many of the scores (B, K) of each picture are higher than that of the class `asked` (B,)."""
    return (scores > scores.gather(1, asked[:, None])).sum(1)


def _network(plan: JudgePlan) -> JudgeNetwork:
    return JudgeNetwork(plan.widths, plan.blocks, len(plan.select.concepts), len(plan.styles))
