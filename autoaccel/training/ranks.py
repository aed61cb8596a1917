"""The processes that share each batch: what they agree on, and how they divide and gather what they compute.

What they agree on travels between their CPUs: it must neither wait for a GPU nor end because another process takes
long over what only it does, such as saving.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoaccel.errors import UsageError

T = TypeVar("T")
S = TypeVar("S", Tensor, list[Any])
PATIENCE = timedelta(days=7)
"""How long a process waits for the others: whether one hangs is for whoever started them to say."""
NORMED = 32
"""Fewest samples of a process that BatchNorm takes its statistics of, where several share a batch."""


class Ranks:
    """The processes of this training; a single one agrees with itself, and shares nothing.

    All processes must call the same methods in the same order.

    Attributes:
        rank: The number of this process, from 0.
        world: How many there are.
    """

    def __init__(self) -> None:
        state = PartialState()
        self.rank, self.world = int(state.process_index), int(state.num_processes)

    def largest(self, *values: float) -> list[float]:
        """Return the largest of each value over all processes."""
        return self._reduced(values, distributed.ReduceOp.MAX)

    def summed(self, *values: float) -> list[float]:
        """Return the sum of each value over all processes."""
        return self._reduced(values, distributed.ReduceOp.SUM)

    def _reduced(self, values: Sequence[float], how: Any) -> list[float]:
        if self.world == 1:
            return list(values)
        found = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(found, how, _on_the_cpu())
        return [float(value) for value in found]

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set on any process."""
        return self.largest(float(flag)) == [1.0]

    def all(self, flag: bool) -> bool:
        """Return whether a flag is set on all processes."""
        return not self.any(not flag)

    def part(self, items: Tensor) -> Tensor:
        """Return this process's part of some items, shape [n, ...] with n >= `world`; in the order of the ranks."""
        return items.tensor_split(self.world)[self.rank]

    def gathered(self, found: T) -> list[T]:
        """Return what each process has found, in the order of the ranks."""
        if self.world == 1:
            return [found]
        gathered: list[Any] = [None] * self.world
        distributed.all_gather_object(gathered, found, _on_the_cpu())
        return gathered

    def share_buffers(self, model: nn.Module) -> None:
        """Give all processes the buffers of the first one, whose model is saved: each has seen other batches."""
        if self.world > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> bool:
        """Average gradients over all processes; return whether each trained parameter has one on each process.

        Where only some processes have used a parameter, its gradient is 0 on the others.
        """
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        used = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32)
        complete = self.all(bool(used.all()))
        distributed.all_reduce(used, distributed.ReduceOp.MAX, _on_the_cpu())
        for parameter, somewhere in zip(trained, used.tolist(), strict=True):
            if not somewhere:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)
            parameter.grad /= self.world
        return complete


def share_of(batch: S, rank: int, world: int) -> S:
    """Return what one process of several computes of a batch, a list of n samples or a tensor of shape [n, ...].

    That is every `world`-th sample. A batch of fewer samples than processes is computed whole by each, which
    gives the same mean: a process without a sample would have no loss.
    """
    return batch[rank::world] if len(batch) >= world else batch


def check_shares(per_sample: bool, model: nn.Module, batch_size: int) -> None:
    """Refuse a training whose batches cannot be shared by as many processes without changing what is trained.

    Args:
        per_sample: Whether the loss is one of each sample, not one number a batch.
        model: What is trained.
        batch_size: Over all processes together.

    Raises:
        UsageError: If the loss is of whole batches, or a share is too small to be a batch.
    """
    world = Ranks().world
    if world == 1:
        return
    if not per_sample:
        raise UsageError(f"the loss is one number a batch, so {world} processes cannot share a batch")
    normed = any(isinstance(module, _BatchNorm) for module in model.modules())
    least = NORMED if normed else 1
    if batch_size < least * world:
        why = f", as BatchNorm needs {NORMED} samples each" if normed else ""
        raise UsageError(f"batches of {batch_size} are too small for {world} processes{why}")


@cache
def _on_the_cpu() -> Any:
    """Return the group of all processes in which their CPUs speak to each other."""
    return distributed.new_group(timeout=PATIENCE, backend="gloo")
