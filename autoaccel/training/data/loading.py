"""Load samples ahead of time: worker processes fetch and collate the next batches during training.

A pass is cut into batches a few batches before they are trained on, so a change of the batch size takes effect
that much later. The order of the samples is the same as without workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from autoaccel.training.data.sources import Source

AHEAD = 2
"""Batches that each worker prefetches."""
TIMED = 4
"""Batches per worker that are timed to choose the number of workers."""
GAIN = 0.8
"""More workers are kept only if they take less than this share of the time."""

Loaded = tuple[Tensor, Any, Tensor]


class BackgroundLoader:
    """Load the batches of one pass after another.

    It uses a `DataLoader` with persistent workers. They end when this object is dropped, and within seconds after
    their parent process ends, even if it is killed. Torch seeds Python's, numpy's and its own random numbers
    differently in each worker.

    Args:
        source: The source to load from.
        workers: Number of worker processes, 1 or more.
        pinned: Whether to load into pinned memory, from which copies to a GPU are asynchronous.
        seed: Seed of the workers' random numbers.
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
        """Return an iterator over the index, inputs and targets of each batch of a pass, in the order of `indices`.

        The rest of the previous pass is dropped.
        """
        self._pass.indices = indices
        return iter(self._loader)


def enough_workers(seconds_with: Callable[[int], float], most: int) -> int:
    """Return the number of workers beyond which loading hardly speeds up; 0 if workers do not help.

    Args:
        seconds_with: Measures the seconds per batch with a given number of workers.
        most: Largest number to try.
    """
    chosen, seconds = 0, seconds_with(0)
    for workers in (1, 2, 4, 8):
        taken = seconds_with(workers) if workers <= most else float("inf")
        # One worker pays if it is faster at all, since training runs at the same time.
        if taken >= seconds * (1.0 if workers == 1 else GAIN):
            break
        chosen, seconds = workers, taken
    return chosen


def seconds_per_batch(source: Source, size: int, workers: int, now: Callable[[], float]) -> float:
    """Return the seconds it takes to load a batch of `size` samples, without the start of the workers."""
    count = TIMED * max(1, workers)
    batches = (torch.arange(i * size, (i + 1) * size) % len(source) for i in range(count + 1))
    loaded = BackgroundLoader(source, workers, False, 0)(batches) if workers else map(source.take, batches)
    next(loaded)  # starting the workers is a one-time cost
    before = now()
    for _ in loaded:
        pass
    return (now() - before) / count


def same_samples(known: int, samples: int, size: int, seed: int) -> Sequence[Tensor]:
    """Return the indices of random samples, always the same: measurements made at different times are comparable.

    Args:
        known: Number of samples there are; 0 for a stream, which has no others than its first ones.
        samples: Number of samples to take.
        size: Largest number of samples in a batch.
        seed: Seed of the choice.

    Returns:
        The indices of each batch. A last batch of one sample is dropped, since it has no batch statistics.
    """
    count = min(samples, known) if known else samples
    order = torch.Generator().manual_seed(seed)
    indices = torch.randperm(known, generator=order)[:count] if known else torch.arange(count)
    parts: tuple[Tensor, ...] = indices.split(max(1, min(size, count)))
    return parts[:-1] if len(parts) > 1 and len(parts[-1]) == 1 else parts


class _Batches(Dataset[Loaded]):
    """A dataset of batches, each requested by the indices of its samples."""

    def __init__(self, source: Source):
        self._source = source

    def __getitem__(self, index: Tensor) -> Loaded:
        return (index, *self._source.take(index))


class _Pass(Sampler[Tensor]):
    """A sampler that passes the batches of the current pass to a `DataLoader`."""

    indices: Iterator[Tensor] = iter(())

    def __iter__(self) -> Iterator[Tensor]:
        return self.indices


def _as_it_is(loaded: Any) -> Any:
    return loaded
