"""The order of the samples: passes over the data, with sample weights set by the techniques."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import torch
from accelerate.utils import reduce
from torch import Tensor

from autoaccel.techniques.base import Batch, Technique
from autoaccel.techniques.shared.tensors import map_tensors
from autoaccel.training.context import TrainingContext


class BatchSampler:
    """An endless stream of batches, each cut to the current batch size.

    Args:
        context: The training.
        seed: Seed of the order of the samples, the same on all ranks.
        rank: Rank of this process.
        world: Number of processes that share each batch.
    """

    def __init__(self, context: TrainingContext, seed: int, rank: int = 0, world: int = 1):
        self._context = context
        self._order = torch.Generator().manual_seed(seed)
        self._rank, self._world = rank, world
        self._shared = context.sample_loss.clone()
        self._selectors = [t for t in context.techniques if type(t).select is not Technique.select]

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches on the device, forever."""
        while True:
            yield from self._one_pass()

    def _one_pass(self) -> Iterator[Batch]:
        context = self._context
        count = len(context.data.train)
        weight = self._weights(count)
        if weight is None:
            indices = torch.randperm(count, generator=self._order)
        else:
            chosen = weight.cpu().nonzero().flatten()
            indices = chosen[torch.randperm(len(chosen), generator=self._order)]
        for batch in self._fetched(self._cut(indices)):
            yield batch if weight is None else batch.replace(weight=weight[batch.index])
            if context.restart:
                context.restart = False
                return

    def _cut(self, indices: Tensor) -> Iterator[Tensor]:
        """Yield this rank's part of each batch of a pass, cut to the batch size at that moment."""
        done = 0
        while done < len(indices):
            index = indices[done : done + self._context.batch_size]
            done += len(index)
            if len(index) < self._context.batch_size and done > len(index):
                return  # a short last batch would have a noisier gradient; its samples come in other passes
            yield index[self._rank :: self._world]

    def _fetched(self, indices: Iterator[Tensor]) -> Iterator[Batch]:
        context = self._context
        if context.loader is None:
            return map(context.fetch, indices)
        return (context.to_device(*loaded) for loaded in context.loader(indices))

    def _weights(self, count: int) -> Tensor | None:
        if not self._selectors:
            return None
        if self._world > 1:
            self._share_losses()
        weight = torch.ones(count, device=self._context.device)
        for technique in self._selectors:
            weight = technique.select(self._context, weight)
        kept = weight[weight > 0]
        # Divide by the mean over the pass, not the sum over the batch, to keep the expected gradient the full one.
        return weight / kept.mean() if len(kept) else torch.ones_like(weight)

    def _share_losses(self) -> None:
        """Merge the sample losses that the ranks recorded since the last pass, so that all select the same ones."""
        seen, before = self._context.sample_loss, self._shared
        fresh = (seen != before) & ~seen.isnan()
        losses = reduce(torch.where(fresh, seen, 0.0), "sum")
        count = reduce(fresh.to(seen.dtype), "sum")
        self._shared = torch.where(count > 0, losses / count.clamp(min=1), before)
        self._context.sample_loss = self._shared.clone()


def chunks(batch: Batch, size: int) -> list[tuple[Batch, float]]:
    """Split a batch into micro-batches of at most `size`, each with its share of the batch; 0 does not split."""
    count = len(batch.weight)
    if not size or count <= size:
        return [(batch, 1.0)]
    parts = []
    for start in range(0, count, size):
        cut = slice(start, min(start + size, count))
        part = Batch(
            map_tensors(operator.itemgetter(cut), batch.inputs),
            batch.targets[cut],
            batch.index[cut],
            batch.weight[cut],
            None if batch.other is None else batch.other[cut],
            None if batch.share is None else batch.share[cut],
        )
        parts.append((part, len(part.weight) / count))
    return parts
