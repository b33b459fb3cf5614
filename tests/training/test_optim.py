from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from impasto.training import optim
from impasto.training.optim import OPTIMISERS, Muon, alike, learning_rate, orthogonalised
from impasto.training.plans import OptimiserPlan


@pytest.mark.parametrize("decay", ["cosine", "linear", "constant"])
def test_the_learning_rate_warms_up_and_ends_at_its_floor(decay: str) -> None:
    plan = OptimiserPlan.parse({"learning_rate": 0.5, "warmup": 10, "decay": decay, "floor": 0.1}, "plan")
    rates = [learning_rate(plan, step, 110) for step in range(111)]
    assert rates[:3] == pytest.approx([0.05, 0.1, 0.15])
    assert max(rates) == rates[10] == 0.5
    assert rates[110] == pytest.approx(0.5 if decay == "constant" else 0.05)
    assert all(a >= b for a, b in pairwise(rates[10:]))


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6)])
def test_orthogonalised_brings_singular_values_near_one_and_keeps_their_vectors(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonalised(matrix) @ vh.T
    values = inner.diagonal()
    assert values.min() > 0.5
    assert values.max() < 1.3
    assert (inner - values.diag()).abs().max() < 1e-4


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6)])
def test_orthogonalised_is_the_plain_iteration(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = matrix / matrix.norm()
    for a, b, c in optim.POLYNOMIALS:
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ gram @ x
    torch.testing.assert_close(orthogonalised(matrix.float()), x.float(), atol=2e-4, rtol=0)


def test_each_polynomial_is_the_best_one_for_what_the_ones_before_leave() -> None:
    low, high = 0.01, 1.0
    for a, b, c in optim.POLYNOMIALS:
        x = torch.linspace(low, high, 10_001, dtype=torch.float64)
        error = (a * x + b * x**3 + c * x**5 - 1).abs()
        low, high = float(1 - error.max()), float(1 + error.max())
        peaks = error[1:-1][(error[1:-1] > error[:-2]) & (error[1:-1] > error[2:])].tolist()
        # Chebyshev: a best one has as many greatest errors, of one size, as it has coefficients and one more.
        greatest = [float(error[0]), *peaks, float(error[-1])]
        assert greatest == pytest.approx([float(error.max())] * 4, rel=1e-2)
    assert high - 1 == pytest.approx(0.2694, abs=2e-3)


def test_muon_moves_matrices_as_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "POLYNOMIALS", ((3.4445, -4.7750, 2.0315),) * 5)  # torch's own
    ours, theirs = nn.Linear(12, 20, bias=False), nn.Linear(12, 20, bias=False)
    theirs.load_state_dict(ours.state_dict())
    plan = OptimiserPlan(name="muon", learning_rate=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    reference = torch.optim.Muon(
        theirs.parameters(), lr=0.01, weight_decay=0.1, momentum=0.9, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    optimiser = Muon(ours, plan)
    before = ours.weight.detach().clone()
    for step in range(5):
        gradient = torch.randn(20, 12, generator=torch.Generator().manual_seed(step))
        ours.weight.grad, theirs.weight.grad = gradient.clone(), gradient.clone()
        optimiser.step()
        reference.step()
    moved = (theirs.weight - before).norm()
    assert (ours.weight - theirs.weight).norm() / moved < 0.02  # torch iterates in bfloat16


def test_muon_moves_the_rest_as_adamw_does() -> None:
    ours, theirs = nn.BatchNorm1d(7), nn.BatchNorm1d(7)
    optimiser = Muon(ours, OptimiserPlan(name="muon", learning_rate=0.01, betas=(0.8, 0.95), weight_decay=0.3))
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.8, 0.95), weight_decay=0.0)
    for step in range(5):
        for module in (ours, theirs):
            draw = torch.Generator().manual_seed(step)
            for parameter in module.parameters():
                parameter.grad = torch.randn(7, generator=draw)
        optimiser.step()
        reference.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_muon_takes_convolutions_as_matrices_and_tables_not() -> None:
    net = nn.Sequential(nn.Embedding(5, 4), nn.Conv2d(4, 6, 3))
    optimiser = Muon(net, OptimiserPlan(name="muon"))
    orthogonal = {id(p) for group in optimiser.param_groups if group["orthogonal"] for p in group["params"]}
    assert orthogonal == {id(net[1].weight)}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_goes_down(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    rate = 1.0 if name == "prodigy" else 0.01
    plan = OptimiserPlan.parse({"name": name, "learning_rate": rate, "warmup": 0}, "plan")
    optimiser = OPTIMISERS[name](net, plan, alike)
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(120):
        optimiser.zero_grad()
        loss = (net(x)[:, 0] - x.prod(1)).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
