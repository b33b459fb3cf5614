"""The judge of Glyph's pictures: a small classifier that says what a picture shows and in whose style it is drawn.

It learns from real drawings alone, and only from rows that Glyph may learn from too: the held-out ones show how far it
can be believed. It shares nothing with Glyph, no weights, no latents and no words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone reads

from benchmarks.lessons import BATCH, JudgePlan, Lessons, five, pieces, small, wholes
from benchmarks.opinions import JudgeNetwork, Opinion, ranks
from impasto.corpus.dataset import Drawings
from impasto.errors import InvalidInput
from impasto.pictures.sheet import contact_sheet
from impasto.schema import digest
from impasto.training.autoencoder import as_image, resized
from impasto.training.drawings import laid_on, white
from impasto.training.draws import generator, shuffled
from impasto.training.initial import fresh
from impasto.training.loop import Loss, Run, Tick
from impasto.weights import files

SHEET_ROWS = 48


class JudgeTask:
    """A judge learning from drawings (see `impasto.training.loop.Task`).

    Attributes:
        plan: what is learned.
        lessons: what it is learned from.
        modules: `{"judge": JudgeNetwork}`.
        identity: digest of plan and rows.
    """

    def __init__(self, plan: JudgePlan, lessons: Lessons) -> None:
        """Prepare training from random weights."""
        self.plan, self.lessons = plan, lessons
        self.modules = nn.ModuleDict({"judge": fresh(lambda: _network(plan), plan.seed, "judge", zeros=("conv2",))})
        self.identity = digest({"plan": plan.plain(), "rows": lessons.identity})
        self._small = small(lessons.concepts.train.images, plan.size)
        self._concepts = concept_numbers(plan, lessons.concepts.train)
        self._styles = style_numbers(plan, lessons.styles.train)

    def loss(self, step: int) -> Loss:
        """Return the cross entropy of concepts and styles on the batches that belong to `step`."""
        plan, images = self.plan, self.lessons.styles.train.images
        stage, seen = plan.place(step)
        whole = shuffled(plan.seed, seen, stage.batch, len(self._small))
        near = shuffled(plan.seed + 1, seen, stage.batch, len(images))
        concepts, styles = self.modules["judge"](
            wholes(plan, self._small[whole], generator(plan.seed, "wholes", step)),
            pieces(plan, images[near], generator(plan.seed, "pieces", step)),
        )
        concept = F.cross_entropy(concepts, self._concepts[whole], label_smoothing=plan.smoothing)
        style = F.cross_entropy(styles, self._styles[near], label_smoothing=plan.smoothing)
        parts = {"concept": float(concept.detach()), "style": float(style.detach())}
        return Loss(concept + style, stage.batch, parts)

    def validate(self, modules: nn.ModuleDict) -> dict[str, float]:
        """Return how often the judge is right on held-out drawings on white, among all its concepts and styles."""
        judge = _judge(self.plan, modules)
        concepts, styles = self.lessons.concepts.held_out, self.lessons.styles.held_out
        found = concept_accuracy(judge, concepts) if concepts else {}
        return found | (style_accuracy(judge, styles) if styles else {})

    def sheet(self, modules: nn.ModuleDict, title: str) -> Image.Image:
        """Return held-out drawings (training ones where none are held out) with what the judge says of them."""
        judge, source = _judge(self.plan, modules), self.lessons.concepts.held_out or self.lessons.concepts.train
        chosen = shuffled(0, 0, min(SHEET_ROWS, len(source.rows)), len(source.rows))
        pictures = laid_on(source.images[chosen], white(len(chosen)))
        opinion = judge(pictures)
        said = zip(opinion.concepts.argmax(1).tolist(), opinion.styles.argmax(1).tolist(), strict=True)
        captions = [f"{judge.concepts[concept]}, {judge.styles[style]}" for concept, style in said]
        return contact_sheet([as_image(picture) for picture in pictures], captions, title=title)


class Judge:
    """A finished judge.

    Attributes:
        plan: that it was trained by.
        concepts: names of its concepts, in the order of its scores.
        styles: collections, in the order of its scores.
    """

    def __init__(self, plan: JudgePlan, network: JudgeNetwork) -> None:
        self.plan, self._network = plan, network.eval()
        self.concepts, self.styles = plan.select.concepts, plan.styles

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Opinion:
        """Return the opinion on `pictures` (B, 3, H, W) within [-1, 1], of any size."""
        size, native = self.plan.size, self.plan.native
        parts = pictures.split(BATCH)
        return Opinion.joined(
            [self._network.opinion(resized(part, size), five(resized(part, native), size)) for part in parts]
        )

    @property
    def digest(self) -> str:
        """Digest of its weights."""
        return files.tensors_digest(self._network.state_dict())

    def save(self, path: Path, task: JudgeTask) -> None:
        """Write the judge to `path`, with its plan, the rows it learned from, and how good it is."""
        about = {
            "plan": self.plan.canonical().decode(),
            "identity": task.identity,
            "corpus": task.lessons.concepts.use.root,
            "concept_rows": task.lessons.concepts.use.selection,
            "style_rows": task.lessons.styles.use.selection,
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


def train(plan: JudgePlan, lessons: Lessons, path: Path) -> Iterator[Tick]:
    """Train a judge and write it to `path`; a training that was stopped goes on from the folder `path`.run.

    Nothing happens when the judge of this plan and these rows is there already.

    Raises:
        StateMismatch: the folder holds another training.
        NotFinite: the training went astray.
    """
    task = JudgeTask(plan, lessons)
    if path.is_file() and files.load(path).metadata.get("identity") == task.identity:
        return
    run = Run(task, path.with_name(f"{path.name}.run"))
    yield from run.steps()
    _judge(plan, run.learner.ema.modules).save(path, task)


def concept_numbers(plan: JudgePlan, drawings: Drawings) -> Tensor:
    """Return the number (N,) of each drawing's concept."""
    numbers = {name: number for number, name in enumerate(plan.select.concepts)}
    return torch.tensor([numbers[row.concept or ""] for row in drawings.rows])


def style_numbers(plan: JudgePlan, drawings: Drawings) -> Tensor:
    """Return the number (N,) of each drawing's collection."""
    numbers = {name: number for number, name in enumerate(plan.styles)}
    return torch.tensor([numbers[row.source.collection] for row in drawings.rows])


def concept_accuracy(judge: Judge, drawings: Drawings) -> dict[str, float]:
    """Return the shares of `drawings`, laid on white, whose concept is found first, and among five."""
    opinion = judge(laid_on(drawings.images, white(len(drawings.rows))))
    places = ranks(opinion.concepts, concept_numbers(judge.plan, drawings))
    return {f"concept_r{count}": float((places < count).float().mean()) for count in (1, 5)}


def style_accuracy(judge: Judge, drawings: Drawings) -> dict[str, float]:
    """Return the share of `drawings`, laid on white, whose collection is found first."""
    opinion = judge(laid_on(drawings.images, white(len(drawings.rows))))
    places = ranks(opinion.styles, style_numbers(judge.plan, drawings))
    return {"style_r1": float((places < 1).float().mean())}


def _judge(plan: JudgePlan, modules: nn.ModuleDict) -> Judge:
    network = modules["judge"]
    assert isinstance(network, JudgeNetwork)
    return Judge(plan, network)


def _network(plan: JudgePlan) -> JudgeNetwork:
    return JudgeNetwork(plan.widths, plan.blocks, plan.near, (len(plan.select.concepts), len(plan.styles)))
