"""Optimisers and the course of their learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from impasto.training.plans import OptimiserPlan


def learning_rate(plan: OptimiserPlan, step: int, steps: int) -> float:
    """Return the learning rate of `step` (from 0) in a run of `steps`: linear warm-up, then the plan's decay."""
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    progress = (step - plan.warmup) / max(1, steps - plan.warmup)
    shape = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}[plan.decay]
    return plan.learning_rate * (plan.floor + (1 - plan.floor) * shape)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split trained parameters into those that decay (two or more dimensions) and those that do not (norms, biases)."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    decaying, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    groups = ((decaying, weight_decay), (others, 0.0))
    return [{"params": members, "weight_decay": decay} for members, decay in groups if members]


def adamw(module: nn.Module, plan: OptimiserPlan) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 1711.05101), one fused kernel a step."""
    groups = parameter_groups(module, plan.weight_decay)
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=plan.betas, fused=True)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for weights; AdamW for everything else.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; convolutions are taken as matrices of
    (out, in * height * width). The update is scaled by 0.2 * sqrt(max(sides)) so that its size is that of AdamW's and
    one learning rate serves both (Liu et al. 2502.16982).

    Args:
        module: parameters with two or more dimensions are taken as matrices, but for those of `nn.Embedding`.
        plan: learning rate, weight decay and betas; the first beta is the momentum of both.
    """

    def __init__(self, module: nn.Module, plan: OptimiserPlan) -> None:
        tables = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
        parameters = [p for p in module.parameters() if p.requires_grad]
        matrices = [p for p in parameters if p.ndim > 1 and id(p) not in tables]
        others = [p for p in parameters if p.ndim <= 1 or id(p) in tables]
        shared = {"lr": plan.learning_rate, "betas": plan.betas, "weight_decay": plan.weight_decay}
        groups = [{"params": matrices, "orthogonal": True}, {"params": others, "orthogonal": False}]
        super().__init__([group for group in groups if group["params"]], shared)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no loss is returned
        """Update every parameter that has a gradient."""
        if closure is not None:
            raise NotImplementedError("Muon evaluates no closure.")
        for group in self.param_groups:
            update = self._orthogonal if group["orthogonal"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update(parameter, parameter.grad, self.state[parameter], group)

    @staticmethod
    def _orthogonal(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        momentum = group["betas"][0]
        mean = state.setdefault("mean", torch.zeros_like(parameter))
        mean.lerp_(gradient, 1 - momentum)
        direction = orthogonalised(gradient.lerp(mean, momentum).flatten(1)).reshape(parameter.shape)
        rows, columns = parameter.shape[0], parameter[0].numel()
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_(direction, alpha=group["lr"] * 0.2 * max(rows, columns) ** 0.5)

    @staticmethod
    def _adam(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        first, second = group["betas"]
        if not state:
            state.update(step=torch.zeros(()), mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        age = float(state["step"])
        scale = (state["square"] / (1 - second**age)).sqrt_().add_(1e-8)
        parameter.addcdiv_(state["mean"], scale, value=-group["lr"] / (1 - first**age))


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Bring the singular values of (m, n) `matrix` near 1 by Newton-Schulz iteration (Jordan et al. 2024).

    Each step is X <- P X with P = a + b A + c A^2 and A = X X^T. All these P commute, so for wide matrices they are
    multiplied up on the small side, with A <- P A P, and X is touched twice instead of twice a step.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    gram, product = x @ x.T, torch.eye(len(x), dtype=x.dtype, device=x.device)
    for step in range(steps):
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        product = polynomial @ product
        if step < steps - 1:
            gram = polynomial @ gram @ polynomial
    x = torch.mm(product, x)
    return x if wide else x.T


OPTIMISERS: dict[str, Callable[[nn.Module, OptimiserPlan], torch.optim.Optimizer]] = {
    "adamw": adamw,
    "muon": Muon,
}
