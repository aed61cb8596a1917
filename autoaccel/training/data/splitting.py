"""Split validation samples from the training data: by class, by group, by time, or in turns.

scikit-learn is imported where it is used: it takes as long as torch's optimizers, and many tasks need none of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoaccel.errors import TaskError
from autoaccel.training.data.task import Task

VALID_SHARE = 0.2
MOST_VALID = 10_000

Split = tuple[Tensor, Tensor]
"""Indices of the training and of the validation samples, ascending."""


def split(task: Task, count: int, labels: Tensor | None, seed: int) -> Split:
    """Return the indices of the training and validation samples.

    Args:
        task: The user's task.
        count: Number of samples.
        labels: The class of each sample, shape [count], to keep its share in both parts; None to ignore classes.
        seed: Seed of the split.

    Raises:
        TaskError: If there are too few samples, or `groups` or `order` are invalid.
    """
    if task.order not in (None, "time"):
        raise TaskError(f"order = {task.order!r} is neither None nor 'time'")
    size = min(round(count * VALID_SHARE), MOST_VALID)
    if size < 1 or count - size < 1:
        raise TaskError(f"{count} training samples are too few to split off a validation set; give valid=")
    if task.order == "time":
        return torch.arange(count - size), torch.arange(count - size, count)
    if task.groups is not None:
        from sklearn.model_selection import GroupShuffleSplit

        splitter = GroupShuffleSplit(n_splits=1, test_size=size / count, random_state=seed)
        return _ascending(*next(splitter.split(np.arange(count), groups=_groups(task.groups, count))))
    return _stratified(count, size, labels, seed)


def fold(task: Task, count: int, labels: Tensor | None, seed: int, number: int) -> Split:
    """Return the indices of the training and validation samples of one fold of `task.folds`.

    Raises:
        TaskError: If there are fewer samples or groups than folds, or the samples are in order of time.
    """
    if task.folds < 2 or task.folds > count:
        raise TaskError(
            f"folds = {task.folds} for {count} samples; accepted is 0, or from 2 to the number of samples"
        )
    if task.order is not None:
        raise TaskError("folds would train on what comes later in time; with order='time' there is a single split")
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    indices = np.arange(count)
    if task.groups is not None:
        groups = _groups(task.groups, count)
        if len(set(groups.tolist())) < task.folds:
            raise TaskError(f"folds = {task.folds}, but there are only {len(set(groups.tolist()))} groups")
        parts: Any = GroupKFold(task.folds, shuffle=True, random_state=seed).split(indices, groups=groups)
    elif labels is not None and int(torch.bincount(_numbers(labels)).max()) >= task.folds:
        parts = StratifiedKFold(task.folds, shuffle=True, random_state=seed).split(indices, labels.numpy())
    else:
        parts = KFold(task.folds, shuffle=True, random_state=seed).split(indices)
    return _ascending(*list(parts)[number])


def _stratified(count: int, size: int, labels: Tensor | None, seed: int) -> Split:
    """Split with each class's share in both parts; a class with a single sample trains on it."""
    indices = np.arange(count)
    alone = np.zeros(count, dtype=bool)
    strata = None
    if labels is not None:
        numbers = _numbers(labels)
        counts = torch.bincount(numbers)
        alone = (counts[numbers] < 2).numpy()
        # Each class that is split needs a place in both parts.
        if int((counts > 1).sum()) <= min(size, count - size - int(alone.sum())):
            strata = numbers.numpy()[~alone]
        else:
            alone[:] = False
    from sklearn.model_selection import train_test_split

    kept, held = train_test_split(indices[~alone], test_size=size, random_state=seed, stratify=strata)
    return _ascending(np.concatenate([kept, indices[alone]]), held)


def _numbers(labels: Tensor) -> Tensor:
    """Return class numbers from 0, of which ignored labels are one."""
    numbers: Tensor = torch.unique(labels.cpu(), return_inverse=True)[1]
    return numbers


def _groups(groups: Any, count: int) -> np.ndarray:
    given = np.asarray(groups)
    if len(given) != count:
        raise TaskError(f"groups has {len(given)} labels for {count} training samples")
    return given


def _ascending(kept: np.ndarray, held: np.ndarray) -> Split:
    return torch.as_tensor(np.sort(kept)), torch.as_tensor(np.sort(held))
