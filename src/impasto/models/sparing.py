"""Operations that take no memory of their own where nobody wants gradients.

Each changes its first argument in place then, which must be a layer's own fresh output. Sums and products are the same
bit for bit either way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone reads


def silu(fresh: Tensor) -> Tensor:
    """Return `fresh` * sigmoid(`fresh`)."""
    return F.silu(fresh, inplace=not torch.is_grad_enabled())


def plus(fresh: Tensor, other: Tensor) -> Tensor:
    """Return `fresh` + `other`, which may be broadcast to the shape of `fresh`."""
    return fresh.add_(other) if _spare(fresh, other) else fresh + other


def times(fresh: Tensor, other: Tensor) -> Tensor:
    """Return `fresh` * `other`."""
    return fresh.mul_(other) if _spare(fresh, other) else fresh * other


def _spare(fresh: Tensor, other: Tensor) -> bool:
    # Under autocast the two may differ, and the result is to have the wider number format.
    return not torch.is_grad_enabled() and fresh.dtype == torch.result_type(fresh, other)
