from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from impasto.errors import StateMismatch
from impasto.training import state
from impasto.training.ema import Ema
from impasto.training.optim import OPTIMISERS, alike
from impasto.training.plans import OptimiserPlan
from impasto.training.state import Learner, Progress


def learner(optimiser: str) -> Learner:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 3))
    modules = nn.ModuleDict({"net": net.to(memory_format=torch.channels_last)})  # type: ignore[call-overload]
    plan = OptimiserPlan.parse({"name": optimiser, "learning_rate": 0.01}, "plan")
    return Learner(modules, Ema(modules, 0.9), OPTIMISERS[optimiser](modules, plan, alike))


def learn(pupil: Learner, steps: range) -> None:
    for step in steps:
        pupil.optimiser.zero_grad()
        x = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(step))
        pupil.modules["net"](x).square().mean().backward()
        pupil.optimiser.step()
        pupil.ema.update(pupil.modules, step)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_what_was_saved_goes_on_bit_for_bit(optimiser: str, tmp_path: Path) -> None:
    whole, first, second = learner(optimiser), learner(optimiser), learner(optimiser)
    learn(whole, range(6))
    learn(first, range(3))
    state.save(tmp_path, first, Progress(3, 6, 1.5), "run", keep=2)
    assert state.resume(tmp_path, second, "run") == Progress(3, 6, 1.5)
    learn(second, range(3, 6))
    expected, found = whole.tensors(), second.tensors()
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_the_newest_states_are_kept_and_others_runs_refused(tmp_path: Path) -> None:
    pupil = learner("muon")
    learn(pupil, range(1))
    for step in (1, 2, 3):
        state.save(tmp_path, pupil, Progress(step), "run", keep=2)
    assert [path.name for path in state.states(tmp_path)] == ["step-00000002.safetensors", "step-00000003.safetensors"]
    with pytest.raises(StateMismatch, match="belongs to run run"):
        state.resume(tmp_path, learner("muon"), "other")
    assert state.resume(tmp_path / "empty", pupil, "run") == Progress()
