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

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long a process waits for the others: whether one hangs is for whoever started them to say."""


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
        if self.world == 1:
            return
        # Sparse ones stay as they are: no step changes them, and no backend sends them.
        for buffer in (b for b in model.buffers() if b.layout is torch.strided):
            whole = buffer.contiguous()
            distributed.broadcast(whole.reshape(-1).view(torch.uint8), 0)  # backends know only some dtypes
            if whole is not buffer:
                buffer.copy_(whole)

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


@cache
def _on_the_cpu() -> Any:
    """Return the group of all processes in which their CPUs speak to each other."""
    return distributed.new_group(timeout=PATIENCE, backend="gloo")
