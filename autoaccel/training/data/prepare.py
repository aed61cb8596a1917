"""Prepare a task for training: open its data, understand it or take over what was understood, build the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from autoaccel.errors import TaskError
from autoaccel.training.data.forward import example_output
from autoaccel.training.data.opening import Opened, open_task
from autoaccel.training.data.reading import ReadSource
from autoaccel.training.data.scaling import checked_fold, statistics
from autoaccel.training.data.sources import DatasetSource, Source, StreamSource, SubsetSource, first_few
from autoaccel.training.data.splitting import fold
from autoaccel.training.data.task import Task
from autoaccel.training.data.understanding import Understanding, every_target, strata, targets_of, understand
from autoaccel.training.metrics.choosing import make_metric
from autoaccel.training.metrics.finding import prepared
from autoaccel.training.metrics.metric import Metric
from autoaccel.training.metrics.objective import Objective

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Data:
    """A task without its model, ready for training.

    Args:
        train: Training samples.
        valid: Validation samples, used to choose between recipes.
        test: Test samples, or None.
        objective: The loss.
        metric: The metric.
        found: What was understood of the task.
        weights: Weight of each sample by part, shape [n], with a mean of 1; parts without weights are missing.
        order: The user's own sampler over the positions of the user's training data, or None if the order is free.
        batches: The user's own batch sampler over them, or None.
        batch_size: The batch size of the user's `DataLoader`; 0 without one.
    """

    train: ReadSource
    valid: ReadSource
    test: ReadSource | None
    objective: Objective
    metric: Metric
    found: Understanding
    weights: Mapping[str, Tensor]
    order: Any = None
    batches: Any = None
    batch_size: int = 0

    @property
    def kind(self) -> str:
        """Kind of input: image, tokens, table or series."""
        return self.found.kind

    @property
    def classes(self) -> int:
        """Number of classes or labels; 0 for other targets."""
        return self.found.form.readout.classes

    @property
    def split(self) -> Tensor | None:
        """Indices of the validation samples in the user's training data; None if they are not from there."""
        return None if self.found.split is None else self.found.split[1]

    def part(self, source: ReadSource) -> str:
        """Return which of the parts a source is: train, valid or test."""
        return next(name for name in PARTS if getattr(self, name) is source)


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


def prepare(task: Task, model: nn.Module, seed: int, found: Understanding | None = None) -> Data:
    """Prepare a task. The same seed gives the same split in every process.

    Args:
        task: The user's task.
        model: A model built by the task's factory, on its device; only the outputs of a few samples are used.
        seed: Seed of the split.
        found: What was understood of the task before, in this run; None to look at the data now.

    Raises:
        TaskError: If the data are empty, of the wrong type, or do not fit the model.
    """
    opened = open_task(task)
    if found is None:
        found = understand(task, model, opened, seed)
        found = replace(found, class_weights=_class_weights(task, found, opened))
    sources = _parts(task, opened, found)
    form, train = found.form, opened["train"]
    assert train is not None
    read = {name: None if s is None else ReadSource(s, found.reader) for name, s in sources.items()}
    assert read["train"] is not None and read["valid"] is not None
    materialize(model, read["train"])
    objective = form.objective(_loss(task, found), found.class_weights)
    objective = replace(objective, scaling=found.scaling, alike=found.alike and objective.weight is None)
    return Data(
        read["train"],
        read["valid"],
        read["test"],
        objective,
        make_metric(
            task.metric, task.direction, task.metric_on, form.readout, found.dense and found.kind == "tokens"
        ),
        found,
        _weights(task, sources, found),
        train.order,
        train.batches,
        train.batch_size,
    )


def materialize(model: nn.Module, source: ReadSource) -> None:
    """Give lazy layers their shapes, by running the model on a few samples."""
    if any(is_lazy(p) for p in model.parameters()):
        example_output(model, source.take(first_few(source))[0])


def refold(task: Task, found: Understanding, seed: int, number: int) -> Understanding:
    """Return the understanding with another fold held out, and with the statistics of the samples that are not."""
    train = open_task(task)["train"]
    assert train is not None
    count = len(train.source)
    every = every_target(found.reader, train.source, None)
    split = fold(task, count, strata(found, every, count), seed, number)
    scaling = found.scaling
    if scaling is not None and len(every) == count:
        scaling = statistics(every[split[0]], scaling.over, scaling.keep)
    changed = replace(found, split=split, scaling=scaling)
    return replace(changed, class_weights=_class_weights(task, changed, open_task(task)))


def in_units(model: nn.Module, data: Data) -> Data:
    """Fold the scaling of the targets into a trained model, and return the data for a model that answers in units.

    Raises:
        RuntimeError: If that is not possible any more, because a technique has replaced the last layer.
    """
    if data.objective.scaling is None:
        return data
    inputs, _ = data.train.take(first_few(data.train))
    checked_fold(model, data.objective.scaling, inputs)
    return replace(data, objective=replace(data.objective, scaling=None))


def _loss(task: Task, found: Understanding) -> Any:
    """Return the loss as the user gave it; a name that was found, if they left it to the model or to us."""
    return task.loss if task.loss is not None and task.loss != "model" else found.form.name


def _parts(task: Task, opened: Mapping[str, Opened | None], found: Understanding) -> dict[str, Source | None]:
    sources = {name: None if (each := opened[name]) is None else each.source for name in PARTS}
    train = sources["train"]
    if found.split is not None and train is not None:
        kept, held = found.split
        sources["train"], sources["valid"] = SubsetSource(train, kept), SubsetSource(train, held)
    if isinstance(train, StreamSource) and sources["valid"] is None:
        count = _stated(task, "train", task.valid_samples)
        sources["train"] = replace(train, skipped=count, length=max(0, train.length - count))
    for name in ("valid", "test"):
        own = train if sources[name] is None and name == "valid" else sources[name]
        if isinstance(own, StreamSource):
            sources[name] = _first(own, _stated(task, name, task.valid_samples or own.length), name)
    return sources


def _stated(task: Task, name: str, count: int | None) -> int:
    if not count or count < 1:
        raise TaskError(
            f"{name} is a stream: state valid_samples=, how many of its first samples are for validation"
        )
    return count


def _first(stream: StreamSource, count: int, name: str) -> DatasetSource:
    """Return the first samples of a stream, kept in memory, which are the same at every evaluation."""
    kept = list(islice(iter(stream.stream), count))
    if len(kept) < count:
        raise TaskError(f"{name} has only {len(kept)} samples, but valid_samples = {count}")
    return DatasetSource(kept, stream.collate)  # type: ignore[arg-type]


def _class_weights(task: Task, found: Understanding, opened: Mapping[str, Opened | None]) -> Tensor | None:
    given, readout = task.class_weights, found.form.readout
    if given is None:
        return None
    train = opened["train"]
    assert train is not None
    if not found.form.of_classes or found.form.raw or not found.form.per_sample:
        raise TaskError("class_weights need a loss of classes, one a sample or position")
    if isinstance(given, str):
        if given != "balanced":
            raise TaskError(f"class_weights = {given!r} is neither 'balanced' nor one weight a class")
        targets = prepared(found.form, found.reader.labels(targets_of(found.reader, train.source)))
        if found.split is not None and len(targets) == len(train.source):
            targets = targets[found.split[0]]
        counted = targets[targets != readout.ignored]
        counts = torch.bincount(counted, minlength=readout.classes).clamp(min=1)
        return len(counted) / (readout.classes * counts.float())
    weights = torch.as_tensor(given, dtype=torch.float32)
    if weights.shape != (readout.classes,):
        raise TaskError(f"class_weights has shape {tuple(weights.shape)}, but there are {readout.classes} classes")
    return weights


def _weights(task: Task, sources: Mapping[str, Source | None], found: Understanding) -> dict[str, Tensor]:
    """Return the user's sample weights by part, as far as they gave some."""
    given = task.weights if isinstance(task.weights, Mapping) else {"train": task.weights}
    if unknown := set(given) - set(PARTS):
        raise TaskError(f"weights has the key {min(unknown)!r}; accepted are train, valid and test")
    weights = {name: _checked(values, name) for name, values in given.items() if values is not None}
    if not weights:
        return {}
    if not found.form.per_sample:
        raise TaskError(f"weights need a loss of each sample, but {found.form.name} returns one number a batch")
    if found.split is not None and "train" in weights:
        kept, held = found.split
        if len(weights["train"]) != len(kept) + len(held):
            count = len(kept) + len(held)
            raise TaskError(f"weights has {len(weights['train'])} numbers for {count} training samples")
        weights = {**weights, "train": weights["train"][kept], "valid": weights["train"][held]}
    for name, values in weights.items():
        source = sources[name]
        if source is None or len(values) != len(source):
            count = 0 if source is None else len(source)
            raise TaskError(f"weights has {len(values)} numbers for {count} {name} samples")
    return {name: values / values.mean() for name, values in weights.items()}


def _checked(values: Any, name: str) -> Tensor:
    weights = torch.as_tensor(np.asarray(values), dtype=torch.float32)
    if (
        weights.dim() != 1
        or not bool(torch.isfinite(weights).all())
        or bool((weights < 0).any())
        or not weights.sum()
    ):
        raise TaskError(f"weights of {name} must be one finite number a sample, not negative and not all 0")
    return weights
