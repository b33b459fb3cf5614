"""Optimisers and the course of their learning rate."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from impasto.errors import InvalidPlan
from impasto.training.plans import OptimiserPlan


def learning_rate(plan: OptimiserPlan, step: int, steps: int) -> float:
    """Return the learning rate of `step` (from 0) in a run of `steps`: linear warm-up, then the plan's decay."""
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    progress = (step - plan.warmup) / max(1, steps - plan.warmup)
    shape = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}[plan.decay]
    return plan.learning_rate * (plan.floor + (1 - plan.floor) * shape)


Rate = Callable[[str], float]
"""(name of a parameter) -> its learning rate as a share of the optimiser's."""


def alike(name: str) -> float:  # noqa: ARG001 (the signature of a `Rate`)
    """Return 1: every parameter has the optimiser's own learning rate."""
    return 1.0


def parameter_groups(module: nn.Module, weight_decay: float, rate: Rate = alike) -> list[dict[str, Any]]:
    """Split trained parameters by rate, and into those that decay (two or more dimensions) and norms and biases."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    for wide in (True, False):
        for name, parameter in named:
            if (parameter.ndim > 1) == wide:
                groups.setdefault((rate(name), weight_decay if wide else 0.0), []).append(parameter)
    return [{"params": members, "weight_decay": decay, "rate": share} for (share, decay), members in groups.items()]


def adamw(module: nn.Module, plan: OptimiserPlan, rate: Rate = alike) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 1711.05101), one fused kernel a step."""
    groups = parameter_groups(module, plan.weight_decay, rate)
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=plan.betas, fused=True)


def adamw_8bit(module: nn.Module, plan: OptimiserPlan, rate: Rate = alike) -> torch.optim.Optimizer:
    """AdamW with its memory in 8 bits (Dettmers et al. 2110.02861)."""
    bitsandbytes = library("bitsandbytes", "adamw-8bit")
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()  # its kernels walk memory as it lies
    groups = parameter_groups(module, plan.weight_decay, rate)
    optimiser: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(groups, lr=plan.learning_rate, betas=plan.betas)
    return optimiser


def adafactor(module: nn.Module, plan: OptimiserPlan, rate: Rate = alike) -> torch.optim.Optimizer:
    """Adafactor (Shazeer & Stern 1804.04235): the memory of a matrix is a row and a column."""
    groups = parameter_groups(module, plan.weight_decay, rate)
    return torch.optim.Adafactor(groups, lr=plan.learning_rate)


def prodigy(module: nn.Module, plan: OptimiserPlan, rate: Rate = alike) -> torch.optim.Optimizer:
    """Prodigy (Mishchenko & Defazio 2306.06101), which finds its learning rate by itself."""
    groups = parameter_groups(module, plan.weight_decay, rate)
    optimiser: torch.optim.Optimizer = library("prodigyopt", "prodigy").Prodigy(
        groups, lr=plan.learning_rate, betas=plan.betas, use_bias_correction=True, safeguard_warmup=plan.warmup > 0
    )
    return optimiser


def schedule_free(module: nn.Module, plan: OptimiserPlan, rate: Rate = alike) -> torch.optim.Optimizer:
    """Schedule-free AdamW (Defazio et al. 2405.15682); its steps are warmed up by itself, and need no decay."""
    groups = parameter_groups(module, plan.weight_decay, rate)
    optimiser: torch.optim.Optimizer = library("schedulefree", "schedule-free").AdamWScheduleFree(
        groups, lr=plan.learning_rate, betas=plan.betas
    )
    optimiser.train()  # type: ignore[attr-defined]  # schedulefree's own: where the weights are for gradients
    return optimiser


def library(name: str, optimiser: str) -> Any:
    """Return the library called `name`, which an `optimiser` is from.

    Raises:
        InvalidPlan: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InvalidPlan(
            f'The optimiser {optimiser!r} needs {name}, which cannot be imported ({error}): pip install "{name}". '
            "Or choose adamw."
        ) from error


def finish(optimiser: torch.optim.Optimizer) -> None:
    """Give the weights the values that are to be used from now on, where others were trained."""
    if hasattr(optimiser, "eval"):
        optimiser.eval()


@contextmanager
def settled(optimiser: torch.optim.Optimizer) -> Iterator[None]:
    """For the time of a `with` block, give the weights the values that are to be used, where others are trained."""
    finish(optimiser)
    try:
        yield
    finally:
        if hasattr(optimiser, "train"):
            optimiser.train()


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for weights; AdamW for everything else.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; convolutions are taken as matrices of
    (out, in * height * width). The update is scaled by 0.2 * sqrt(max(sides)) so that its size is that of AdamW's and
    one learning rate serves both (Liu et al. 2502.16982).

    Args:
        module: parameters with two or more dimensions are taken as matrices, but for those of `nn.Embedding`.
        plan: learning rate, weight decay and betas; the first beta is the momentum of both.
    """

    def __init__(self, module: nn.Module, plan: OptimiserPlan, rate: Rate = alike) -> None:  # noqa: ARG002 (one for all)
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


# The best three odd polynomials of degree 5 in turn for singular values of 0.01 to 1 (Amsel et al. 2505.16932, "The
# Polar Express", algorithm 1): they end within 0.27 of 1, where the five alike of Jordan et al. end within 0.32.
POLYNOMIALS = ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))


def orthogonalised(matrix: Tensor) -> Tensor:
    """Bring the singular values of (m, n) `matrix` near 1 by polynomials of it (Amsel et al. 2505.16932).

    Each step is X <- P X with P = a + b A + c A^2 and A = X X^T. All these P commute, so for wide matrices they are
    multiplied up on the small side, with A <- P A P, and X is touched twice instead of twice a step.
    """
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    product: Tensor | None = None
    for step, (a, b, c) in enumerate(POLYNOMIALS, start=1):
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        product = polynomial if product is None else torch.mm(polynomial, product)
        if step < len(POLYNOMIALS):
            gram = polynomial @ gram @ polynomial
    x = x if product is None else torch.mm(product, x)
    return x if wide else x.T


OPTIMISERS: dict[str, Callable[[nn.Module, OptimiserPlan, Rate], torch.optim.Optimizer]] = {
    "adamw": adamw,
    "muon": Muon,
    "adamw-8bit": adamw_8bit,
    "adafactor": adafactor,
    "prodigy": prodigy,
    "schedule-free": schedule_free,
}
