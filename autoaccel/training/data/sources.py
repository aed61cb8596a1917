"""Sources of samples: arrays in memory, indexed a batch at a time, any map-style dataset, or a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from autoaccel.techniques.shared.tensors import map_tensors, tensors_in
from autoaccel.training.device import free_memory

FEW = 8
"""Number of samples that are looked at; small sizes are rare among the dimensions of data."""


class Source(Protocol):
    """A fixed number of samples that can be fetched by index."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Any:
        """Return a batch of the samples at `index`, in the form in which the user's data has it."""
        ...

    def to(self, device: torch.device) -> Source:
        """Return the same source with its data on `device`, if it can move them."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """Samples in memory as tensors, batch dimension first."""

    arrays: Any

    def __len__(self) -> int:
        return len(tensors_in(self.arrays)[0])

    def take(self, index: Tensor) -> Any:
        """Return the rows at `index`, on the device that holds them."""
        return map_tensors(lambda t: t[_beside(index, t)], self.arrays)

    def to(self, device: torch.device) -> ArraySource:
        """Return a copy on `device`."""
        return ArraySource(map_tensors(lambda t: t.to(device), self.arrays))

    def nbytes(self) -> int:
        """Return the bytes of memory that the samples take; the storage of a view counts in full, but once."""
        storages = [t.untyped_storage() for t in tensors_in(self.arrays)]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@dataclass(frozen=True)
class DatasetSource:
    """Samples of a map-style dataset, fetched one by one and collated into batches."""

    dataset: Dataset[Any]
    collate: Callable[[list[Any]], Any]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def take(self, index: Tensor) -> Any:
        """Fetch and collate the samples at `index`."""
        return self.collate([self.dataset[i] for i in index.tolist()])

    def to(self, device: torch.device) -> DatasetSource:
        """Return itself: a dataset cannot be moved."""
        return self


@dataclass(frozen=True)
class SubsetSource:
    """A subset of another source."""

    source: Source
    positions: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, index: Tensor) -> Any:
        """Return the samples at `index` in this subset."""
        return self.source.take(self.positions[_beside(index, self.positions)])

    def to(self, device: torch.device) -> SubsetSource:
        """Return the subset with the other source on `device`."""
        return SubsetSource(self.source.to(device), self.positions.to(device))


@dataclass(frozen=True)
class StreamSource:
    """Samples that can only be read one after the other, such as those of an `IterableDataset`.

    Args:
        stream: Can be iterated over more than once; each time is a pass.
        collate: Makes a batch from a list of samples.
        length: Number of samples of a pass, without those skipped; 0 if unknown.
        skipped: Number of samples at the start of each pass that are left out, since they are kept for validation.
    """

    stream: Iterable[Any]
    collate: Callable[[list[Any]], Any]
    length: int = 0
    skipped: int = 0

    def __len__(self) -> int:
        return self.length

    def samples(self) -> Iterator[Any]:
        """Yield the samples of one pass."""
        return islice(iter(self.stream), self.skipped, None)

    def take(self, index: Tensor) -> Any:
        """Return the first samples of the stream: as many as the index asks for, since a stream has no index."""
        return self.collate(list(islice(self.samples(), len(index))))

    def to(self, device: torch.device) -> StreamSource:
        """Return itself: a stream cannot be moved."""
        return self


def _beside(index: Tensor, data: Tensor) -> Tensor:
    """Return the index on the device of the data; a copy to a GPU is asynchronous."""
    return index.to(data.device, non_blocking=data.device.type == "cuda")


def root_of(source: Source) -> Source:
    """Return the source that holds the samples, beneath any subsets."""
    return root_of(source.source) if isinstance(source, SubsetSource) else source


def has_room(device: torch.device, source: Source, share: float) -> bool:
    """Return whether a source is of arrays in memory that take at most `share` of the free memory of a device."""
    # Where all computation is on the CPU the data are there already.
    return isinstance(source, ArraySource) and (
        device.type == "cpu" or source.nbytes() <= share * free_memory(device)
    )


def first_few(samples: Sized) -> Tensor:
    """Return the indices of the first few samples; a stream may not know how many it has."""
    return torch.arange(min(len(samples), FEW) or FEW)
