"""The state of a run on disk: written whole, found again after `kill -9`, never a pickle.

A state is one safetensors file: `weights.*`, `ema.*`, `optimiser.<index>.<name>`; its metadata say which run it belongs
to and how far it came.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from impasto.errors import StateMismatch
from impasto.training.ema import Ema
from impasto.weights import files


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: steps done.
        samples: pictures seen.
        seconds: time spent in them.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Learner:
    """What changes in training: the modules, their mean, and the optimiser's memory."""

    modules: nn.ModuleDict
    ema: Ema
    optimiser: torch.optim.Optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the state by name."""
        memory = self.optimiser.state_dict()["state"]
        found = {f"weights.{name}": tensor for name, tensor in self.modules.state_dict().items()}
        found |= {f"ema.{name}": tensor for name, tensor in self.ema.modules.state_dict().items()}
        for index, slots in memory.items():
            found |= {f"optimiser.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over the `tensors` of an earlier state of the same run."""
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "ema": {}, "optimiser": {}}
        for name, tensor in tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        self.modules.load_state_dict(groups["weights"])
        self.ema.modules.load_state_dict(groups["ema"])
        memory: dict[int, dict[str, Tensor]] = {}
        for name, tensor in groups["optimiser"].items():
            index, _, slot = name.partition(".")
            memory.setdefault(int(index), {})[slot] = tensor.clone()
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": memory})
        for parameter, slots in self.optimiser.state.items():
            for slot, value in slots.items():
                if value.shape == parameter.shape:  # laid out as its parameter is: fused kernels walk both alike
                    slots[slot] = torch.empty_like(parameter).copy_(value)


def save(folder: Path, learner: Learner, progress: Progress, run: str, keep: int) -> Path:
    """Write the state of the run with digest `run` into `folder`, and keep the newest `keep` states there."""
    path = folder / f"step-{progress.step:08d}.safetensors"
    metadata = {"run": run, "progress": json.dumps(asdict(progress))}
    files.save(path, learner.tensors(), metadata)
    for old in states(folder)[:-keep]:
        old.unlink()
    return path


def states(folder: Path) -> list[Path]:
    """Return the saved states in `folder`, oldest first."""
    return sorted(folder.glob("step-????????.safetensors"))


def resume(folder: Path, learner: Learner, run: str) -> Progress:
    """Restore `learner` from the newest state in `folder`; without one, nothing happens and the run is at its start.

    Raises:
        StateMismatch: the state belongs to another plan, corpus or start.
    """
    found = states(folder)
    if not found:
        return Progress()
    tensors = files.load(found[-1])
    if tensors.metadata.get("run") != run:
        raise StateMismatch(
            f"{found[-1]} belongs to run {tensors.metadata.get('run')}, and this plan, corpus and start make {run}. "
            "Use another output folder, or put the plan back as it was."
        )
    learner.restore(dict(tensors))
    return Progress(**json.loads(tensors.metadata["progress"]))
