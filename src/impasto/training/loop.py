"""The one training loop: a generator that its caller drives, which saves its state and goes on from it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from impasto.errors import NotFinite
from impasto.files import write_text, written_whole
from impasto.training import charts, state
from impasto.training.ema import Ema
from impasto.training.optim import OPTIMISERS, finish, learning_rate, settled
from impasto.training.plans import TrainingPlan
from impasto.training.processes import here
from impasto.training.state import Learner, Progress


@dataclass(frozen=True, eq=False)
class Loss:
    """What one step gives.

    Attributes:
        value: scalar to go down from.
        samples: pictures in it.
        parts: its parts by name, for the metrics.
    """

    value: Tensor
    samples: int
    parts: dict[str, float]


def mean(losses: Sequence[Loss]) -> Loss:
    """Return the mean of `losses`, which together have all their samples."""
    names = list(dict.fromkeys(name for loss in losses for name in loss.parts))
    parts = {name: sum(loss.parts.get(name, 0.0) for loss in losses) / len(losses) for name in names}
    value = torch.stack([loss.value for loss in losses]).mean()
    return Loss(value, sum(loss.samples for loss in losses), parts)


class Task(Protocol):
    """A method of training, as the loop sees it.

    Attributes:
        modules: what is trained.
        identity: digest of plan, data and start: states of other runs are refused.
    """

    modules: nn.ModuleDict
    identity: str

    @property
    def plan(self) -> TrainingPlan:
        """The plan of this run."""
        ...

    def loss(self, step: int) -> Loss:
        """Return the loss of `step` (from 0). It depends on the modules and the step alone.

        Where the plan has several pieces a step, this is asked for each, and `step` counts them.
        """
        ...

    def validate(self, modules: nn.ModuleDict) -> dict[str, float]:
        """Return figures of `modules` on held-out rows, the same rows and draws at every call."""
        ...

    def sheet(self, modules: nn.ModuleDict, title: str) -> Image.Image:
        """Return a picture of what `modules` can do."""
        ...


@dataclass(frozen=True)
class Tick:
    """A step that is done.

    Attributes:
        progress: so far.
        steps: of the whole run.
        loss: of this step.
        learning_rate: of this step.
        samples_per_second: over the last steps.
        validation: newest figures on held-out rows.
    """

    progress: Progress
    steps: int
    loss: float
    learning_rate: float
    samples_per_second: float
    validation: dict[str, float] = field(default_factory=dict)


class Run:
    """A task being trained in a folder.

    The folder holds `states/` (the newest few), `metrics.jsonl`, `loss.png` and `sheets/`.

    Attributes:
        learner: the modules, their mean and the optimiser.
        processes: that train it together.
        progress: how far the run has come; not 0 when a state was found in the folder.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        """Prepare the run, from the newest state in `folder` when there is one.

        Raises:
            StateMismatch: that state belongs to another plan, corpus or start.
        """
        self.task, self.folder, self.processes = task, folder, here()
        self._figures: dict[str, float] = {}
        plan = task.plan
        optimiser = OPTIMISERS[plan.optimiser.name](task.modules, plan.optimiser, plan.rate)
        self.learner = Learner(task.modules, Ema(task.modules, plan.ema), optimiser)
        self.progress = state.resume(self.states, self.learner, task.identity)
        self.metrics = Metrics(folder / "metrics.jsonl", self.progress.step, written=self.processes.first)

    @property
    def states(self) -> Path:
        """Where the states are."""
        return self.folder / "states"

    def steps(self) -> Iterator[Tick]:
        """Train to the end, a step at a time.

        Raises:
            NotFinite: loss or gradient are no longer finite; the newest state on disk is from before.
        """
        plan = self.task.plan
        while self.progress.step < plan.steps:
            yield self._step()
            step = self.progress.step
            last = step == plan.steps
            if not self.processes.first:
                continue  # what follows is written once
            if step % plan.sheet_every == 0 or last:
                with settled(self.learner.optimiser):
                    self._look(step)
            if step % plan.checkpoint_every == 0 or last:
                state.save(self.states, self.learner, self.progress, self.task.identity, plan.keep)
        finish(self.learner.optimiser)

    def _step(self) -> Tick:
        plan, step, start = self.task.plan, self.progress.step, time.perf_counter()
        rate = learning_rate(plan.optimiser, step, plan.steps)
        for group in self.learner.optimiser.param_groups:
            group["lr"] = rate * group.get("rate", 1.0)
        self.learner.optimiser.zero_grad(set_to_none=True)
        loss = self._gradient(step)
        norm = float(nn.utils.clip_grad_norm_(self.task.modules.parameters(), plan.optimiser.clip))
        value = float(loss.value)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise NotFinite(
                f"Step {step}: loss {value}, gradient norm {norm}. The weights before it are kept in {self.states}. "
                f"Lower optimiser.learning_rate (now {plan.optimiser.learning_rate}) or clip ({plan.optimiser.clip})."
            )
        self.learner.optimiser.step()
        with settled(self.learner.optimiser):
            self.learner.ema.update(self.task.modules, step)
        seconds = time.perf_counter() - start
        before = self.progress
        self.progress = Progress(step + 1, before.samples + loss.samples, before.seconds + seconds)
        self.metrics.add(loss.parts | {"loss": value, "gradient_norm": norm})
        if self.progress.step % plan.log_every == 0:
            self.metrics.write(self.progress, rate)
        return Tick(self.progress, plan.steps, value, rate, loss.samples / seconds, self._figures)

    def _gradient(self, step: int) -> Loss:
        """Take the gradient of `step`, over all its pieces and processes; the loss returned is their mean."""
        pieces = self.task.plan.pieces
        losses = []
        for piece in self.processes.own(pieces):
            loss = self.task.loss(step * pieces + piece)
            (loss.value / pieces).backward()
            losses.append(replace(loss, value=loss.value.detach()))
        self.processes.sum_gradients(self.task.modules)
        return mean(self.processes.gathered(losses))

    def _look(self, step: int) -> None:
        self._figures = figures = self.task.validate(self.learner.ema.modules)
        self.metrics.note(self.progress, {f"validation_{name}": value for name, value in figures.items()})
        said = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        title = f"{self.task.plan.name}, step {step:,}, {self.progress.samples:,} pictures seen   {said}"
        sheet = self.task.sheet(self.learner.ema.modules, title)
        with written_whole(self.folder / "sheets" / f"step-{step:08d}.png") as path:
            sheet.save(path, format="png")
        charts.draw(self.metrics.path, self.folder / "loss.png", self.task.plan.name)


class Metrics:
    """Lines of figures in a file, means over the steps between them.

    A run that goes on from a state drops the lines that were written after it.
    """

    def __init__(self, path: Path, step: int, *, written: bool = True) -> None:
        self.path, self._written = path, written
        self._sums: dict[str, float] = {}
        self._count = 0
        if not written:
            return  # another process does
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if _step_of(line) <= step]
        if len(kept) != len(lines) or not path.exists():
            write_text(path, "".join(f"{line}\n" for line in kept))

    def add(self, figures: dict[str, float]) -> None:
        """Take in the figures of a step."""
        self._count += 1
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def write(self, progress: Progress, rate: float) -> None:
        """Write a line with the means since the last one."""
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        self.note(progress, means | {"learning_rate": rate})

    def note(self, progress: Progress, figures: dict[str, float]) -> None:
        """Write a line with `figures`."""
        line = {"step": progress.step, "samples": progress.samples, "seconds": round(progress.seconds, 2)} | figures
        if not self._written:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # cut short by a kill


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which the arithmetic has `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
