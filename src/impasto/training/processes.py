"""Several processes that learn one thing, started by torch's own launcher: `torchrun --nproc-per-node 2 -m impasto`.

A step's gradient is the mean over the pieces that its plan names; processes share the pieces out, and each then makes
the same step. So the result is that of one process, but for the order in which numbers are added.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from impasto.errors import InvalidPlan

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Those that are learning, as one of them sees it.

    Attributes:
        rank: of this one, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes what is written once."""
        return self.rank == 0

    def own(self, pieces: int) -> range:
        """Return which of a step's `pieces` are this one's.

        Raises:
            InvalidPlan: they cannot be shared out evenly.
        """
        if pieces % self.size:
            raise InvalidPlan(
                f"{pieces} batches a step cannot be shared by {self.size} processes. Make `accumulate` a multiple of "
                f"{self.size}, and `batch` that much smaller."
            )
        return range(self.rank, pieces, self.size)

    def sum_gradients(self, modules: nn.Module) -> None:
        """Add up the gradients of `modules` over all processes."""
        if self.size == 1:
            return
        parameters = [p for p in modules.parameters() if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter)

    def gathered(self, things: Sequence[T]) -> list[T]:
        """Return what all processes have, in order of their ranks."""
        if self.size == 1:
            return list(things)
        lists: list[Any] = [None] * self.size
        distributed.all_gather_object(lists, list(things))
        return [thing for part in lists for thing in part]

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()


def here() -> Processes:
    """Return the processes that `joined` has brought together; this one alone otherwise."""
    if distributed.is_available() and distributed.is_initialized():
        return Processes(distributed.get_rank(), distributed.get_world_size())
    return Processes()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """For the time of a `with` block, join the other processes that the launcher started, if it started any."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or here().size > 1:
        yield here()
        return
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield here()
    finally:
        distributed.destroy_process_group()
