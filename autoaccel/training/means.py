"""The mean loss of a batch, weighted by what counts, also where the batch is cut or shared among processes."""

from __future__ import annotations

import torch
from accelerate.utils import reduce
from torch import Tensor

from autoaccel.techniques.base import Batch
from autoaccel.training.metrics.objective import Objective


def counts(objective: Objective, batch: Batch) -> Tensor | None:
    """Return how much each sample of a batch counts in the mean loss, shape [n]; None if all count alike."""
    own = objective.counts(batch.targets)
    if own is None or batch.other is None or batch.share is None:
        return own
    other = objective.counts(batch.other)
    return own if other is None else batch.share * own + (1 - batch.share) * other


def total(objective: Objective, batch: Batch, parallel: bool) -> Tensor | float:
    """Return what the samples of a batch count together; the mean over ranks, whose gradients are averaged."""
    own = counts(objective, batch)
    if not parallel:
        return float(len(batch.index)) if own is None else own.sum()
    # Ranks may have unequal parts of a batch.
    whole: Tensor = reduce(batch.weight.new_tensor(len(batch.index)) if own is None else own.sum(), "mean")
    return whole


def mean(objective: Objective, batch: Batch, each: Tensor, whole: Tensor | float) -> Tensor:
    """Return a micro-batch's part of the mean loss of a batch, weighted by what counts.

    Args:
        objective: The task's loss.
        batch: The micro-batch.
        each: Loss of each of its samples, shape [n].
        whole: What all samples of the batch count together.
    """
    own = counts(objective, batch)
    weighted = each * batch.weight if own is None else each * batch.weight * own
    if isinstance(whole, float):
        return weighted.sum() / whole
    return weighted.sum() / whole.clamp(min=torch.finfo(whole.dtype).tiny)  # 0 where every label is ignored


def chunks(objective: Objective, batch: Batch, size: int, parallel: bool) -> list[tuple[Batch, Tensor | float]]:
    """Split a batch into micro-batches of at most `size` samples, each with what the whole batch counts.

    Args:
        objective: The task's loss.
        batch: The batch.
        size: Largest number of samples; 0 does not split.
        parallel: Whether several processes share the batch.

    Raises:
        ValueError: If the batch has to be split, and a part of it cannot be divided among its samples.
    """
    whole, count = total(objective, batch, parallel), len(batch.index)
    if not size or count <= size:
        return [(batch, whole)]
    rows = torch.arange(count, device=batch.index.device)
    return [(batch.part(index), whole) for index in rows.split(size)]
