"""Which batches memory suffices for, so that processes may wait for each other while they compute them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from autoaccel.techniques.base import Batch
from autoaccel.techniques.shared.tensors import tensors_in

if TYPE_CHECKING:
    from autoaccel.training.context import TrainingContext

SURE = 4
"""Steps of a size after which processes that share batches rely on memory to suffice for it."""


class Sizes:
    """Which batches memory suffices for.

    Attributes:
        overlap: Whether each step uses each trained parameter, as averaging while computing requires.
    """

    def __init__(self) -> None:
        self.overlap = True
        # A weak one: a wrapper that is not used any more holds a copy of the gradients.
        self._network: Callable[[], object] = lambda: None
        self._largest = (0.0, 0.0)
        self._times = 0

    def fits(self, context: TrainingContext, batch: Batch) -> bool:
        """Return whether `SURE` steps went well, with the same network, since one was as large as this batch.

        Steps of the same shape may need more memory later: where a technique skips fewer blocks, they compute more.
        """
        held, computed = _size(context, batch)
        if context.network is not self._network():
            self._network, self._largest, self._times = weakref.ref(context.network), (0.0, 0.0), 0
        if held > self._largest[0] or computed > self._largest[1]:
            self._largest, self._times = (max(held, self._largest[0]), max(computed, self._largest[1])), 0
        self._times += 1
        return self.overlap and self._times > SURE


def _size(context: TrainingContext, batch: Batch) -> tuple[float, float]:
    """Return how many numbers the part of a batch that is computed at once holds, and the FLOPs that it takes."""
    count = len(batch.index)
    if 0 < context.micro_batch < count:
        batch = batch.part(torch.arange(context.micro_batch, device=batch.index.device))
    held = sum(part.numel() for part in tensors_in((batch.inputs, batch.targets, batch.other)))
    # Of the same shape as what runs, so it was counted already or will be.
    return float(held), context.meter.flops_of(batch.inputs, backward=True)
