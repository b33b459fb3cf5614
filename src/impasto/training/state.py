"""The state of a run on disk: written whole, found again after `kill -9`, never a pickle.

A state is one safetensors file: `weights.*`, `ema.*` (where there is a mean), `optimiser.<index>.<name>`, and
`group.<index>.<name>` for numbers that an optimiser keeps for many parameters at once, such as Prodigy's estimate; its
metadata say which run it belongs to and how far it came.
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

FROM_THE_PLAN = {"lr", "rate", "weight_decay", "orthogonal"}
"""Numbers of an optimiser's groups that are set anew in each run."""

PLAIN = "#"
"""At the end of a name: a plain number, not a tensor."""


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
        found = {f"weights.{name}": tensor for name, tensor in self.modules.state_dict().items()}
        if self.ema.modules is not self.modules:
            found |= {f"ema.{name}": tensor for name, tensor in self.ema.modules.state_dict().items()}
        for index, parameter in enumerate(self._parameters):
            for slot, value in self.optimiser.state.get(parameter, {}).items():
                mark = "" if isinstance(value, Tensor) else PLAIN
                found[f"optimiser.{index}.{slot}{mark}"] = torch.as_tensor(value)
        for index, group in enumerate(self.optimiser.param_groups):
            numbers = {name: value for name, value in group.items() if self._moved(name, value)}
            found |= {
                f"group.{index}.{name}": torch.tensor(float(value), dtype=torch.float64)
                for name, value in numbers.items()
            }
        return found

    def _moved(self, name: str, value: object) -> bool:
        """Return whether `value` is a number that the optimiser keeps for a group, and that it has changed."""
        counts = isinstance(value, (bool, int, float, Tensor)) and name not in FROM_THE_PLAN
        return counts and value != self.optimiser.defaults.get(name)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over the `tensors` of an earlier state of the same run."""
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "ema": {}, "optimiser": {}, "group": {}}
        for name, tensor in tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        self.modules.load_state_dict(groups["weights"])
        if self.ema.modules is not self.modules:
            self.ema.modules.load_state_dict(groups["ema"])
        parameters = self._parameters
        for name, tensor in groups["optimiser"].items():
            index, _, slot = name.partition(".")
            value = tensor.item() if slot.endswith(PLAIN) else tensor.clone()
            self.optimiser.state[parameters[int(index)]][slot.removesuffix(PLAIN)] = value
        for name, tensor in groups["group"].items():
            index, _, key = name.partition(".")
            numbers = self.optimiser.param_groups[int(index)]
            kind = type(numbers.get(key, 0.0))
            numbers[key] = kind(tensor.item()) if kind in (bool, int) else tensor.item()
        for parameter, slots in self.optimiser.state.items():
            for slot, value in slots.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    # laid out as its parameter is: fused kernels walk both alike
                    slots[slot] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
                elif isinstance(value, Tensor) and slot != "step":  # which torch itself puts where it needs it
                    slots[slot] = value.to(parameter.device)

    @property
    def _parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes, in its own order."""
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]


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
