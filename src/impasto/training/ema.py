"""A running mean of the weights, which draws better than the weights themselves."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Ema:
    """Exponential moving average of the parameters of some modules.

    The decay rises as (1 + step) / (10 + step) until it reaches `decay`, so that the random start is soon forgotten.

    Attributes:
        modules: copies of the modules that carry the mean; never trained. With a decay of 0 the mean is the weights
            themselves, and these are the very modules.
    """

    def __init__(self, modules: nn.ModuleDict, decay: float) -> None:
        self.decay = decay
        self.modules = modules
        if decay:
            self.modules = copy.deepcopy(modules).requires_grad_(requires_grad=False).eval()

    @torch.no_grad()
    def update(self, modules: nn.ModuleDict, step: int) -> None:
        """Move the mean towards the parameters of `modules` after `step` (from 0)."""
        if not self.decay:
            return
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        means: list[Tensor] = list(self.modules.parameters())
        torch._foreach_lerp_(means, [p.detach() for p in modules.parameters()], share)
