"""The order of the samples: passes over the data, with sample weights set by the techniques."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate.utils import reduce
from torch import Tensor

from autoaccel.errors import TaskError
from autoaccel.techniques.base import Batch, Technique
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.sources import StreamSource
from autoaccel.training.shares import check_own_batches, least_share, share_of

T = TypeVar("T")


@dataclass
class Place:
    """A place in the data.

    Args:
        number: Number of the pass, from 0.
        done: Samples of the pass that were trained on, over all ranks.
        batches: Batches of the pass that were trained on.
        begun: State of the generator of the order when the pass began.
        weight: Weight of each sample in the pass, shape [n_train]; None if all are 1.
    """

    number: int = 0
    done: int = 0
    batches: int = 0
    begun: Tensor | None = None
    weight: Tensor | None = None


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
        self._rank, self._world, self._least = rank, world, least_share(context.model, context.techniques)
        self._shared = context.sample_loss.clone()
        self._selectors = [t for t in context.techniques if type(t).select is not Technique.select]
        self._own = context.data.weights.get("train")
        self._place = Place()
        self._counts: deque[int] = deque()

    @property
    def drawn(self) -> int:
        """Samples of the batch that was yielded last, over all ranks."""
        return self._counts[0]

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the data before the batch that was yielded last; the same on all ranks."""
        return dict(vars(self._place))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place in the data.

        Batches come as they did if the user's data give the same sample twice, and if no worker process has fetched
        others ahead while the batch size was changing.
        """
        self._place = Place(**state)
        if self._place.begun is not None:
            self._order.set_state(self._place.begun)

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches on the device, forever.

        Raises:
            TaskError: If a pass has no sample.
            UsageError: If batches of the user's own are too small to be shared.
        """
        source = self._context.data.train.source
        while True:
            self._counts.clear()
            for batch in self._of_stream(source) if isinstance(source, StreamSource) else self._one_pass():
                yield batch
                self._place.done += self._counts.popleft()
                self._place.batches += 1
                if self._context.restart:
                    self._context.restart = False
                    break
            if not self._place.done:
                raise TaskError("a pass over the training data has no sample")
            self._place = Place(self._place.number + 1)

    def _one_pass(self) -> Iterator[Batch]:
        if self._place.begun is None:
            self._place.begun = self._order.get_state()
            self._place.weight = self._weights(len(self._context.data.train))
        weight = self._place.weight
        for batch in self._fetched(self._shares(self._indices(weight))):
            yield batch if weight is None else batch.replace(weight=weight[batch.index])

    def _shares(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield this rank's share of each batch, and note the whole batch's size; a loader asks ahead for them."""
        for index in indices:
            self._counts.append(len(index))
            yield index[share_of(len(index), self._rank, self._world, self._least)]

    def _indices(self, weight: Tensor | None) -> Iterable[Tensor]:
        """Return the indices of each batch of a pass over all ranks."""
        data = self._context.data
        if data.batches is not None:
            return islice(self._own_batches(data.batches), self._place.batches, None)
        if data.order is not None:
            return self._cut(self._positions(self._drawn(data.order, _as_tensor)), self._place.done)
        if weight is None or not self._selectors:
            return self._cut(torch.randperm(len(data.train), generator=self._order), self._place.done)
        chosen = weight.cpu().nonzero().flatten()
        return self._cut(chosen[torch.randperm(len(chosen), generator=self._order)], self._place.done)

    def _cut(self, indices: Tensor, done: int) -> Iterator[Tensor]:
        """Yield the indices of each batch after the first `done` samples, cut to the batch size at that moment."""
        while done < len(indices):
            index = indices[done : done + self._context.batch_size]
            done += len(index)
            if len(index) < self._context.batch_size and done > len(index):
                return  # a short last batch would have a noisier gradient; its samples come in other passes
            yield index

    def _own_batches(self, sampler: Any) -> Iterator[Tensor]:
        drawn = [torch.tensor(list(indices)) for indices in self._drawn(sampler, list)]
        if self._world > 1 and not self._place.number:
            sizes = [len(self._positions(indices)) for indices in drawn]
            check_own_batches(sizes, type(sampler).__name__, self._least)
        for indices in drawn:
            if len(kept := self._positions(indices)):
                yield kept

    def _drawn(self, sampler: Any, gather: Callable[[Iterator[Any]], T]) -> T:
        """Return what the user's sampler yields in a pass, gathered; the same on all ranks.

        Raises:
            TaskError: If it has no length: such a sampler may never end.
        """
        if not hasattr(sampler, "__len__"):
            raise TaskError(f"the sampler {type(sampler).__name__} has no __len__, which says when a pass ends")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=self._order)))
            return gather(islice(iter(sampler), len(sampler)))

    def _positions(self, indices: Tensor) -> Tensor:
        """Return the positions in the training part of indices into the user's data; those held out are dropped."""
        split = self._context.data.found.split
        if split is None:
            return indices
        position = torch.full((len(split[0]) + len(split[1]),), -1)
        position[split[0]] = torch.arange(len(split[0]))
        found = position[indices]
        return found[found >= 0]

    def _fetched(self, indices: Iterator[Tensor]) -> Iterator[Batch]:
        context = self._context
        if context.loader is None:
            return map(context.fetch, indices)
        return (context.to_device(*loaded) for loaded in context.loader(indices))

    def _of_stream(self, source: StreamSource) -> Iterator[Batch]:
        """Yield batches of a stream. Every rank reads all of it and keeps its share of each batch."""
        if hasattr(source.stream, "set_epoch"):  # streams that shuffle themselves do so by this number
            source.stream.set_epoch(self._place.number)
        done = self._place.done
        samples = islice(source.samples(), done, None)
        while drawn := list(islice(samples, self._context.batch_size)):
            if len(drawn) < self._context.batch_size and done:
                return
            share = share_of(len(drawn), self._rank, self._world, self._least)
            own = torch.arange(done, done + len(drawn))[share]
            inputs, targets = self._context.data.train.reader(source.collate(drawn[share]))
            done += len(drawn)
            self._counts.append(len(drawn))
            batch = self._context.to_device(own, inputs, targets)
            yield batch if self._own is None else batch.replace(weight=self._own.to(batch.weight)[batch.index])

    def _weights(self, samples: int) -> Tensor | None:
        """Return the weight of each sample in this pass, shape [n_train]; None if all are 1."""
        own = None if self._own is None else self._own.to(self._context.device)
        if not self._selectors:
            return own
        if self._world > 1:
            self._share_losses()
        weight = torch.ones(samples, device=self._context.device)
        for technique in self._selectors:
            weight = technique.select(self._context, weight)
        if own is not None:
            weight = weight * own
        kept = weight[weight > 0]
        # Divide by the mean over the pass, not the sum over the batch, to keep the expected gradient the full one.
        return weight / kept.mean() if len(kept) else torch.ones_like(weight)

    def _share_losses(self) -> None:
        """Merge the sample losses that the ranks recorded since the last pass, so that all select the same ones."""
        seen, before = self._context.sample_loss, self._shared
        fresh = (seen != before) & ~seen.isnan()
        losses = reduce(torch.where(fresh, seen, 0.0), "sum")
        counted = reduce(fresh.to(seen.dtype), "sum")
        self._shared = torch.where(counted > 0, losses / counted.clamp(min=1), before)
        self._context.sample_loss = self._shared.clone()


def _as_tensor(indices: Iterator[Any]) -> Tensor:
    """Return indices as a tensor; a list of a million numbers in between would take most of the time."""
    return torch.from_numpy(np.fromiter(indices, np.int64))
