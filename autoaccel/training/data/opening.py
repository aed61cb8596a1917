"""Open what the user gave as train, valid or test: one way in for arrays, datasets, streams and loaders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    default_collate,
)

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import tensors_in
from autoaccel.training.data.sources import ArraySource, DatasetSource, Source, StreamSource, SubsetSource
from autoaccel.training.data.task import Task

ACCEPTED = "accepted is (x, y), a dataset, a stream, a DataLoader, or a function that returns one"
LABEL_KEYS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True)
class Opened:
    """One set of samples as the user gave it.

    Args:
        source: The samples.
        names: The class names that string labels stand for, in the order of the numbers they became.
        order: The user's own sampler, which yields an index a sample, or None if the order is free.
        batches: The user's own batch sampler, which yields the indices of a batch, or None.
        batch_size: The batch size of the user's `DataLoader`; 0 without one.
        own_collate: Whether the user gave the function that makes a batch.
    """

    source: Source
    names: tuple[str, ...] = ()
    order: Any = None
    batches: Any = None
    batch_size: int = 0
    own_collate: bool = False


def open_data(data: Any, name: str, collate: Callable[..., Any] | None, names: tuple[str, ...] = ()) -> Opened:
    """Return the samples of what the user gave as train, valid or test.

    Args:
        data: What the user gave.
        name: What to call it in messages.
        collate: The user's function that makes a batch, or None.
        names: The class names of the training data, if its labels are strings.

    Raises:
        TaskError: If it is empty, can be read only once, or is of an unknown type.
    """
    if callable(data) and not isinstance(data, Dataset | DataLoader) and not hasattr(data, "__getitem__"):
        data = data()
    if isinstance(data, str | bytes | os.PathLike):
        raise TaskError(f"{name} = {data!r}: a path is not read; {ACCEPTED}")
    opened = _open(data, name, collate, names)
    if not isinstance(opened.source, StreamSource) and len(opened.source) == 0:
        raise TaskError(f"{name} is empty")
    return opened


def open_task(task: Task) -> dict[str, Opened | None]:
    """Return the task's samples, opened once a process: workers that are forked afterwards share them.

    Raises:
        TaskError: If some of them cannot be used.
    """
    found: dict[str, Opened | None] | None = task.__dict__.get("_opened")
    if found is None:
        train = open_data(task.train, "train", task.collate)
        found = {"train": train, "valid": None, "test": None}
        for name in ("valid", "test"):
            if (given := getattr(task, name)) is not None:
                found[name] = _scored(open_data(given, name, task.collate, train.names), name)
        # A frozen dataclass, but what is kept here only spares reading the same data again.
        object.__setattr__(task, "_opened", found)
    return found


def _scored(opened: Opened, name: str) -> Opened:
    """Return samples to score on, each of which counts once.

    Raises:
        TaskError: If the user's sampler would repeat some or leave some out.
    """
    if opened.order is not None:
        sampler = type(opened.order).__name__
        raise TaskError(f"{name} has a {sampler}, but each of its samples is scored once; leave the sampler out")
    return opened


def with_metric(task: Task, metric: str) -> Task:
    """Return the task with another metric, and the same opened data."""
    changed = replace(task, metric=metric, direction=None, metric_on="prediction")
    for kept in ("where", "_opened"):
        if kept in task.__dict__:
            object.__setattr__(changed, kept, task.__dict__[kept])
    return changed


def _open(data: Any, name: str, collate: Callable[..., Any] | None, names: tuple[str, ...]) -> Opened:
    if isinstance(data, DataLoader):
        return _loader(data, name, collate, names)
    own = collate not in (None, default_collate)
    if isinstance(data, TensorDataset) and not own:
        return _arrays(tuple(data.tensors) if len(data.tensors) > 1 else data.tensors[0], name, names)
    if isinstance(data, Subset):
        inner = _open(data.dataset, name, collate, names)
        return Opened(_subset(inner.source, data.indices), inner.names, own_collate=inner.own_collate)
    if _is_arrays(data):
        return _arrays(data, name, names)
    collate = collate or default_collate
    if isinstance(data, Iterator):
        raise TaskError(
            f"{name} is a {type(data).__name__}, which can be read only once; give a function that makes it anew"
        )
    if hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, IterableDataset):
        return Opened(DatasetSource(data, collate), own_collate=own)
    if hasattr(data, "__iter__"):
        return Opened(StreamSource(data, collate, len(data) if isinstance(data, Sized) else 0), own_collate=own)
    raise TaskError(f"{name} is a {type(data).__name__}; {ACCEPTED}")


def _loader(
    loader: DataLoader[Any], name: str, collate: Callable[..., Any] | None, names: tuple[str, ...]
) -> Opened:
    """Open a loader's dataset; its sampler decides on the samples and on their order, as far as it is not ours.

    Raises:
        TaskError: If the loader makes no batches of samples.
    """
    if loader.batch_size is None and loader.batch_sampler is None:
        raise TaskError(
            f"{name} is a DataLoader with batch_size=None, whose dataset makes the batches; give a dataset or a"
            " stream of samples, since recipes choose the batch size"
        )
    inner = _open(loader.dataset, name, collate or loader.collate_fn, names)
    source, sampler, batches = inner.source, loader.sampler, loader.batch_sampler
    if isinstance(source, StreamSource):
        return Opened(source, batch_size=loader.batch_size or 0, own_collate=inner.own_collate)
    own_batches = None
    if batches is not None and type(batches) is not BatchSampler:
        own_batches, sampler = batches, SequentialSampler([])
    elif batches is not None:
        sampler = batches.sampler
    if type(sampler) is SubsetRandomSampler:
        source, sampler = _subset(source, sampler.indices), SequentialSampler([])
    free = type(sampler) in (SequentialSampler, DistributedSampler) or _plain_shuffle(sampler)
    return Opened(
        source, inner.names, None if free else sampler, own_batches, loader.batch_size or 0, inner.own_collate
    )


def _plain_shuffle(sampler: Any) -> bool:
    return (
        type(sampler) is RandomSampler
        and not sampler.replacement
        and sampler.num_samples == len(sampler.data_source)
    )


def _subset(source: Source, indices: Any) -> SubsetSource:
    return SubsetSource(source, torch.as_tensor(indices, dtype=torch.long))


def _is_arrays(data: Any) -> bool:
    """Return whether the data are arrays of all samples rather than a sequence of samples."""
    if isinstance(data, Tensor | np.ndarray) or hasattr(data, "to_numpy"):
        return True
    if isinstance(data, Mapping):
        return bool(data) and all(_is_column(part) for part in data.values())
    if isinstance(data, tuple):
        return len(data) > 1 and all(_is_arrays(p) or _is_column(p) for p in data)
    # A list of two arrays is what people write for (x, y); other lists are lists of samples.
    return (
        isinstance(data, list) and len(data) == 2 and all(_is_column(p) and not isinstance(p, list) for p in data)
    )


def _is_column(part: Any) -> bool:
    return isinstance(part, list | Tensor | np.ndarray) or hasattr(part, "to_numpy")


def _arrays(data: Any, name: str, known: tuple[str, ...]) -> Opened:
    names = list(known)
    parts = tuple(data) if isinstance(data, list) else data
    arrays = _tensors(parts, f"{name} inputs", names)
    rows = {len(t) for t in tensors_in(arrays)}
    if isinstance(arrays, tuple) and len(rows) == 2 and len({len(t) for t in tensors_in(arrays[:-1])}) == 1:
        raise TaskError(f"{name} has {len(tensors_in(arrays)[0])} inputs but {len(tensors_in(arrays)[-1])} targets")
    if len(rows) > 1:
        raise TaskError(f"{name} has arrays of different lengths: {', '.join(map(str, sorted(rows)))} rows")
    return Opened(ArraySource(arrays), tuple(names))


def _tensors(data: Any, name: str, names: list[str]) -> Any:
    """Convert arrays to tensors; the last part of a tuple, and parts under a label's key, may be string labels."""
    if isinstance(data, Mapping):
        return {
            key: _labels(part, f"{name} {key!r}", names)
            if key in LABEL_KEYS
            else as_tensor(part, f"{name} {key!r}")
            for key, part in data.items()
        }
    if isinstance(data, tuple):
        *inputs, last = data
        targets = f"{name.removesuffix(' inputs')} targets"
        return (*(_tensors(part, name, names) for part in inputs), _labels(last, targets, names))
    return as_tensor(data, name)


def _labels(data: Any, name: str, names: list[str]) -> Any:
    if isinstance(data, tuple):
        return tuple(as_tensor(part, name) for part in data)
    if isinstance(data, Tensor):
        return as_tensor(data, name)
    values = data.to_numpy() if hasattr(data, "to_numpy") else np.asarray(data)
    if values.dtype.kind in "OUS" and values.shape[1:] == (1,):
        values = values[:, 0]
    if values.dtype.kind in "OUS" and values.ndim == 1 and all(isinstance(v, str | bytes) for v in values.tolist()):
        return _numbered(values.astype(str), name, names)
    return as_tensor(data, name)


def _numbered(labels: np.ndarray, name: str, names: list[str]) -> Tensor:
    """Return the number of each string label; the classes of the training data decide on the numbers."""
    from sklearn.preprocessing import LabelEncoder  # here, since only texts need it

    encoder = LabelEncoder().fit(names or labels)
    if not names:
        names.extend(str(each) for each in encoder.classes_)
    if unknown := sorted(set(labels) - set(names)):
        raise TaskError(f"{name} has the label {str(unknown[0])!r}, which is not in the training data")
    return torch.as_tensor(encoder.transform(labels))


def as_tensor(data: Any, name: str) -> Tensor:
    """Return the data as a tensor in their own precision, without a copy if possible.

    Raises:
        TaskError: If it holds anything but numbers, or a value that is not finite.
    """
    try:
        tensor = torch.as_tensor(data.to_numpy() if hasattr(data, "to_numpy") else data)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(f"{name} must be numbers: {error}") from None
    if tensor.dim() == 0:
        raise TaskError(f"{name} is a single number, not one row a sample")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise TaskError(f"{name} holds values that are not finite; fill or drop them first")
    return tensor
