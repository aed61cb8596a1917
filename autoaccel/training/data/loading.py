"""Fetching samples ahead of time: worker processes take and collate coming batches while the present one trains.

A pass is cut into batches a few batches before they are trained on, so a batch size that changes takes effect
that much later. Samples come in the same order as without workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from autoaccel.training.data.sources import Source

AHEAD = 2
"""Batches that each worker prepares ahead."""
TIMED = 4
"""Batches of each worker that are timed to find out how many workers are worth having."""
GAIN = 0.8
"""More workers are kept if they need at most this share of the time."""

Loaded = tuple[Tensor, Any, Tensor]


class BackgroundLoader:
    """Loads the batches of one pass after the other.

    The workers are torch's own, kept from pass to pass. They end when this object is dropped, and within seconds
    of the end of their process, however that comes about. Torch seeds Python's, numpy's and its own random
    numbers in each of them differently.

    Args:
        source: What is loaded from.
        workers: Processes that fetch, 1 or more.
        pinned: Whether batches come in memory from which a GPU can copy without making anyone wait.
        seed: Decides the workers' random numbers.
    """

    def __init__(self, source: Source, workers: int, pinned: bool, seed: int):
        self._pass = _Pass()
        self._loader: DataLoader[Loaded] = DataLoader(
            _Batches(source),
            sampler=self._pass,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=workers,
            prefetch_factor=AHEAD,
            persistent_workers=True,
            pin_memory=pinned,
            generator=torch.Generator().manual_seed(seed),
        )

    def __call__(self, indices: Iterator[Tensor]) -> Iterator[Loaded]:
        """Index, inputs and targets of each batch of a pass, in the order of `indices`.

        What is left of the pass before is dropped.
        """
        self._pass.indices = indices
        return iter(self._loader)


def enough_workers(seconds_with: Callable[[int], float], most: int) -> int:
    """The number of workers, 0 among them, from which on more would load hardly faster.

    Args:
        seconds_with: Measures the seconds for a batch with so many workers.
        most: Largest number that is tried.
    """
    chosen, seconds = 0, seconds_with(0)
    for workers in (1, 2, 4, 8):
        taken = seconds_with(workers) if workers <= most else float("inf")
        # The first worker pays as soon as there is something to load, since the training goes on meanwhile.
        if taken >= seconds * (1.0 if workers == 1 else GAIN):
            break
        chosen, seconds = workers, taken
    return chosen


def seconds_per_batch(source: Source, size: int, workers: int, now: Callable[[], float]) -> float:
    """Seconds in which a batch of `size` samples is loaded, the start of the workers left out."""
    count = TIMED * max(1, workers)
    batches = (torch.arange(i * size, (i + 1) * size) % len(source) for i in range(count + 1))
    loaded = BackgroundLoader(source, workers, False, 0)(batches) if workers else map(source.take, batches)
    next(loaded)  # starting a worker is paid once
    before = now()
    for _ in loaded:
        pass
    return (now() - before) / count


class _Batches(Dataset[Loaded]):
    """A dataset whose items are batches, asked for by the indices of their samples."""

    def __init__(self, source: Source):
        self._source = source

    def __getitem__(self, index: Tensor) -> Loaded:
        return (index, *self._source.take(index))


class _Pass(Sampler[Tensor]):
    """Hands the batches of the present pass to a `DataLoader`."""

    indices: Iterator[Tensor] = iter(())

    def __iter__(self) -> Iterator[Tensor]:
        return self.indices


def _as_it_is(loaded: Any) -> Any:
    return loaded
