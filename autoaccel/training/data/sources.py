"""Sources of samples: arrays in memory, indexed a batch at a time, or any map-style dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, default_collate

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import map_tensors

ACCEPTED = "accepted is (x, y), a map-style dataset, a DataLoader, or a function that returns one"
LABEL_KEYS = ("labels", "label", "targets", "target", "y")


class Source(Protocol):
    """A fixed number of samples that can be fetched by index."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> tuple[Any, Tensor]:
        """Return the inputs and targets of the samples at `index`, batch dimension first."""
        ...

    def to(self, device: torch.device) -> Source:
        """Return the same source with its data on `device`, if it can move them."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """Samples in memory as tensors, batch dimension first."""

    inputs: Any
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor) -> tuple[Any, Tensor]:
        """Return the rows at `index`, on the device that holds them."""
        return map_tensors(lambda t: t[_beside(index, t)], self.inputs), self.targets[_beside(index, self.targets)]

    def to(self, device: torch.device) -> ArraySource:
        """Return a copy on `device`."""
        return ArraySource(map_tensors(lambda t: t.to(device), self.inputs), self.targets.to(device))

    def nbytes(self) -> int:
        """Return the bytes of memory that the samples take; the storage of a view counts in full, but once."""
        tensors: list[Tensor] = [self.targets]
        map_tensors(lambda t: tensors.append(t) or t, self.inputs)  # type: ignore[func-returns-value]
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@dataclass(frozen=True)
class DatasetSource:
    """Samples of a map-style dataset, fetched one by one and collated into batches."""

    dataset: Dataset[Any]
    collate: Callable[[list[Any]], Any]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def take(self, index: Tensor) -> tuple[Any, Tensor]:
        """Fetch and collate the samples at `index`."""
        return split_batch(self.collate([self.dataset[i] for i in index.tolist()]))

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

    def take(self, index: Tensor) -> tuple[Any, Tensor]:
        """Return the samples at `index` in this subset."""
        return self.source.take(self.positions[_beside(index, self.positions)])

    def to(self, device: torch.device) -> SubsetSource:
        """Return the subset with the other source on `device`."""
        return SubsetSource(self.source.to(device), self.positions.to(device))


def _beside(index: Tensor, data: Tensor) -> Tensor:
    """Return the index on the device of the data; a copy to a GPU is asynchronous."""
    return index.to(data.device, non_blocking=data.device.type == "cuda")


def root_of(source: Source) -> Source:
    """Return the source that holds the samples, beneath any subsets."""
    return root_of(source.source) if isinstance(source, SubsetSource) else source


def first_tensor(data: Any) -> Tensor:
    """Return the first tensor in a batch of inputs, or its `input_ids`, which gives the batch size and the kind.

    Raises:
        TaskError: If there is none.
    """
    if isinstance(data, Tensor):
        return data
    parts = list(data.values()) if isinstance(data, Mapping) else list(data)
    if not parts:
        raise TaskError("a batch of inputs holds no tensor")
    return first_tensor(data["input_ids"] if isinstance(data, Mapping) and "input_ids" in data else parts[0])


def split_batch(batch: Any) -> tuple[Any, Tensor]:
    """Return the inputs and targets of a collated batch: a tuple, or a mapping with a key such as `labels`.

    Raises:
        TaskError: If no targets are found.
    """
    if isinstance(batch, Mapping):
        key = next((key for key in LABEL_KEYS if key in batch), None)
        if key is None:
            accepted = ", ".join(LABEL_KEYS)
            raise TaskError(f"a batch has the keys {', '.join(map(str, batch))}; targets are one of {accepted}")
        return {k: v for k, v in batch.items() if k != key}, batch[key]
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        inputs = batch[0] if len(batch) == 2 else tuple(batch[:-1])
        return inputs, batch[-1]
    raise TaskError(f"a batch must be (inputs, targets) or a mapping with labels, got {type(batch).__name__}")


def as_source(data: Any, name: str, collate: Callable[..., Any] | None) -> Source:
    """Return a source for what the user gave as train, valid or test.

    Raises:
        TaskError: If it is empty, an iterable dataset, or of an unknown type.
    """
    if callable(data) and not isinstance(data, Dataset | DataLoader):
        data = data()
    if isinstance(data, str | bytes | os.PathLike):
        raise TaskError(f"{name} = {data!r}: a path is not read; {ACCEPTED}")
    source = _source(data, name, collate)
    if len(source) == 0:
        raise TaskError(f"{name} is empty")
    return source


def _source(data: Any, name: str, collate: Callable[..., Any] | None) -> Source:
    if isinstance(data, DataLoader):
        return _source(data.dataset, name, collate or data.collate_fn)
    if isinstance(data, IterableDataset):
        raise TaskError(f"{name} is an IterableDataset; a map-style dataset with __len__ is needed")
    if isinstance(data, TensorDataset) and collate in (None, default_collate) and len(data.tensors) >= 2:
        inputs = data.tensors[0] if len(data.tensors) == 2 else data.tensors[:-1]
        return ArraySource(inputs, data.tensors[-1])
    if isinstance(data, Subset):
        return SubsetSource(_source(data.dataset, name, collate), torch.as_tensor(data.indices))
    if isinstance(data, tuple | list) and len(data) == 2 and not _is_sample(data[0]):
        return _arrays(data[0], data[1], name)
    if isinstance(data, Mapping) and all(hasattr(part, "__len__") for part in data.values()):
        return _arrays(*split_batch(data), name)
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return DatasetSource(data, collate or default_collate)
    raise TaskError(f"{name} is a {type(data).__name__}; {ACCEPTED}")


def _is_sample(part: Any) -> bool:
    return isinstance(part, tuple) and len(part) == 2


def _arrays(x: Any, y: Any, name: str) -> ArraySource:
    inputs, targets = _tensors(x, f"{name} inputs"), as_tensor(y, f"{name} targets")
    rows = len(first_tensor(inputs))
    if rows != len(targets):
        raise TaskError(f"{name} has {rows} inputs but {len(targets)} targets")
    return ArraySource(inputs, targets.long() if _is_small_integer(targets) else targets)


def _tensors(data: Any, name: str) -> Any:
    if isinstance(data, Mapping):
        return {key: as_tensor(part, f"{name} '{key}'") for key, part in data.items()}
    if isinstance(data, tuple):
        return tuple(as_tensor(part, name) for part in data)
    return as_tensor(data, name)


def as_tensor(data: Any, name: str) -> Tensor:
    """Return the data as a tensor, without a copy if possible; float64 becomes float32, in which models train.

    Raises:
        TaskError: If it holds anything but numbers, or a value that is not finite.
    """
    try:
        tensor = torch.as_tensor(data.to_numpy() if hasattr(data, "to_numpy") else data)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(f"{name} must be numbers (number classes from 0): {error}") from None
    if tensor.dtype == torch.float64:
        tensor = tensor.float()
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise TaskError(f"{name} holds values that are not finite; fill or drop them first")
    return tensor


def _is_small_integer(targets: Tensor) -> bool:
    return not targets.is_floating_point() and targets.dtype != torch.int64
