"""Prepare a task for training: split the data, find its kind, loss and metric, and check the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from torch import Tensor, nn

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import IGNORED, call, map_tensors, random_numbers_kept
from autoaccel.training.data.sources import ArraySource, Source, SubsetSource, as_source, first_tensor
from autoaccel.training.data.task import KINDS, Task
from autoaccel.training.metrics.metric import Metric, make_metric
from autoaccel.training.metrics.objective import Objective, make_objective

VALID_SHARE = 0.2
MOST_VALID = 10_000
PROBED = 4096


@dataclass(frozen=True)
class Data:
    """A task without its model, ready for training.

    Args:
        train: Training samples.
        valid: Validation samples, used to choose between recipes.
        test: Test samples, or None.
        kind: image, tokens, table or series.
        classes: Number of classes; 0 for other targets.
        objective: The loss.
        metric: The metric.
        split: Indices of the validation samples in the user's training data; None if the user gave `valid`.
    """

    train: Source
    valid: Source
    test: Source | None
    kind: str
    classes: int
    objective: Objective
    metric: Metric
    split: Tensor | None


def build_model(task: Task, parameters: Mapping[str, Any]) -> nn.Module:
    """Call the user's factory.

    Raises:
        TaskError: If it returns no module, or one without trainable parameters.
    """
    if isinstance(task.model, nn.Module) or not callable(task.model):
        got = type(task.model).__name__
        raise TaskError(
            f"model must be a factory, called anew for each trial; got a {got} (write model=lambda: ...)"
        )
    model = task.model(**parameters)
    if not isinstance(model, nn.Module):
        got = type(model).__name__
        raise TaskError(f"model must be a factory that returns a torch.nn.Module, but it returned {got}")
    if not any(p.requires_grad for p in model.parameters()):
        raise TaskError("the model has no parameters to train")
    return model


def prepare(task: Task, model: nn.Module, seed: int) -> Data:
    """Prepare a task. The same seed gives the same split in every process.

    Args:
        task: The user's task.
        model: A model built by the task's factory; only the shape of its output is used.
        seed: Seed of the split.

    Raises:
        TaskError: If the data are empty, of the wrong type, or do not fit the model.
    """
    given = as_source(task.train, "train", task.collate)
    inputs, _ = given.take(torch.arange(min(len(given), 8)))
    kind = find_kind(task, inputs)
    output = _example_output(model, inputs)
    every = _targets(given)
    tokens = kind == "tokens" and every.dim() > 1
    objective = make_objective(task.loss, output, every, tokens, _class_weights(task.class_weights, every, output))
    classes = _classes(objective, every, output, tokens)
    _check_labels(objective, every, classes)
    train, valid, split = _split(task, given, every if classes and not tokens else None, seed)
    return Data(
        train=train,
        valid=valid,
        test=None if task.test is None else as_source(task.test, "test", task.collate),
        kind=kind,
        classes=classes,
        objective=objective,
        metric=make_metric(task.metric, task.direction, classes, tokens),
        split=split,
    )


def find_kind(task: Task, inputs: Any) -> str:
    """Return the kind that the user stated, or infer it from the inputs.

    Rank 4 [n, c, h, w] is an image, rank 3 [n, t, c] a series, and rank 2 of integers other than uint8 [n, t] is
    tokens. Any other rank 1 or 2 [n, features] is a table.

    Raises:
        TaskError: If the stated kind is unknown, or no kind fits.
    """
    if task.kind is not None:
        if task.kind not in KINDS:
            raise TaskError(f"kind = {task.kind!r} is not one of {', '.join(KINDS)}")
        return task.kind
    first = first_tensor(inputs)
    if first.dim() == 4:
        return "image"
    if first.dim() == 3:
        return "series"
    if first.dim() == 2 and not first.is_floating_point() and first.dtype != torch.uint8:
        return "tokens"
    if first.dim() in (1, 2):
        return "table"
    shape = tuple(first.shape)
    raise TaskError(f"inputs of shape {shape} are of no known kind; state kind= one of {', '.join(KINDS)}")


def _example_output(model: nn.Module, inputs: Any) -> Tensor:
    training, device = model.training, next(model.parameters()).device
    try:
        with torch.no_grad(), random_numbers_kept(device):
            output = call(model.eval(), map_tensors(lambda t: t.to(device), inputs))
    finally:
        model.train(training)
    if not isinstance(output, Tensor):
        raise TaskError(
            f"the model must return a tensor, or an object with .logits; it returned {type(output).__name__}"
        )
    return output


def _targets(source: Source) -> Tensor:
    """Return all targets, or those of a random part of a large dataset that is not in memory."""
    if isinstance(source, ArraySource):
        return source.targets
    count = len(source)
    if count > PROBED and not isinstance(source, SubsetSource):
        indices = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:PROBED]
        return source.take(indices)[1]
    return source.take(torch.arange(count))[1]


def _class_weights(given: Any, targets: Tensor, output: Tensor) -> Tensor | None:
    if given is None:
        return None
    if targets.is_floating_point() or targets.dim() > 1:
        raise TaskError("class_weights need one whole-number class a sample")
    classes = max(2, output.shape[1] if output.dim() > 1 else 2)
    if isinstance(given, str):
        if given != "balanced":
            raise TaskError(f"class_weights = {given!r} is neither 'balanced' nor one weight a class")
        counts = torch.bincount(targets, minlength=classes).clamp(min=1)
        return len(targets) / (classes * counts.float())
    weights = torch.as_tensor(given, dtype=torch.float32)
    if weights.shape != (classes,):
        raise TaskError(f"class_weights has shape {tuple(weights.shape)}, but there are {classes} classes")
    return weights


def _classes(objective: Objective, targets: Tensor, output: Tensor, tokens: bool) -> int:
    if targets.is_floating_point():
        return 0
    if objective.name == "binary_cross_entropy_with_logits":
        return 2
    if output.dim() < 2:
        return 0
    return int(output.shape[-1] if tokens else output.shape[1])


def _check_labels(objective: Objective, targets: Tensor, classes: int) -> None:
    if not classes:
        return
    counted = targets[targets != IGNORED]
    low, high = int(counted.min()), int(counted.max())
    if low < 0 or high >= classes:
        raise TaskError(f"labels go from {low} to {high}, but the model has {classes} outputs (0 to {classes - 1})")


def _split(task: Task, given: Source, labels: Tensor | None, seed: int) -> tuple[Source, Source, Tensor | None]:
    if task.order not in (None, "time"):
        raise TaskError(f"order = {task.order!r} is neither None nor 'time'")
    if task.valid is not None:
        return given, as_source(task.valid, "valid", task.collate), None
    count = len(given)
    size = min(round(count * VALID_SHARE), MOST_VALID)
    if size < 1 or count - size < 1:
        raise TaskError(f"{count} training samples are too few to split off a validation set; give valid=")
    kept, held = _split_indices(task, count, size, labels, seed)
    return SubsetSource(given, kept), SubsetSource(given, held), held


def _split_indices(task: Task, count: int, size: int, labels: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
    indices = np.arange(count)
    if task.order == "time":
        return torch.arange(count - size), torch.arange(count - size, count)
    if task.groups is not None:
        groups = np.asarray(task.groups)
        if len(groups) != count:
            raise TaskError(f"groups has {len(groups)} labels for {count} training samples")
        splitter = GroupShuffleSplit(n_splits=1, test_size=size / count, random_state=seed)
        kept, held = next(splitter.split(indices, groups=groups))
    else:
        stratify = _strata(labels, count, size)
        kept, held = train_test_split(indices, test_size=size, random_state=seed, stratify=stratify)
    return torch.as_tensor(np.sort(kept)), torch.as_tensor(np.sort(held))


def _strata(labels: Tensor | None, count: int, size: int) -> np.ndarray | None:
    """Return the labels to stratify by, or None if that is impossible.

    Stratifying needs one label per sample, two samples of each class, and a validation sample for each class.
    """
    if labels is None or len(labels) != count:
        return None
    counts = torch.bincount(labels.clamp(min=0))
    present = counts[counts > 0]
    return labels.cpu().numpy() if int(present.min()) > 1 and len(present) <= size else None
