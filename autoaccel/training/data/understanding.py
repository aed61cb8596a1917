"""What was understood of a task: found once, by looking at the data and running the model on a few samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import main_tensor, tensors_in
from autoaccel.training.data.forward import find_reader, with_dtypes
from autoaccel.training.data.opening import Opened
from autoaccel.training.data.own_loss import find_own_loss
from autoaccel.training.data.reading import NONE, Reader
from autoaccel.training.data.scaling import find_scaling
from autoaccel.training.data.sources import ArraySource, Source, StreamSource, SubsetSource, first_few
from autoaccel.training.data.splitting import Split, fold, split
from autoaccel.training.data.stages import stage
from autoaccel.training.data.task import KINDS, Task
from autoaccel.training.metrics.finding import LossForm, check_classes, find_loss, prepared
from autoaccel.training.metrics.losses import SCALABLE
from autoaccel.training.metrics.objective import Scaling
from autoaccel.training.metrics.own import MODEL
from autoaccel.training.metrics.readout import BINARY, CLASSES, Readout

PROBED = 2048
"""Number of samples of a large dataset whose targets are looked at."""
AT_ONCE = 256
"""Samples that are read at once: a whole dataset may not fit into memory."""


@dataclass(frozen=True)
class Understanding:
    """What was found out about a task.

    Args:
        kind: image, tokens, table or series.
        reader: How a batch becomes inputs and targets.
        form: What the loss is.
        own: Whether the loss is the one that the model computes from labels.
        dense: Whether a sample has many labels, such as one a position.
        ignoring: Whether labels may be ignored, or some are.
        alike: Whether all training samples have one label that counts.
        fit: Whether a sample's inputs are rows of tensors, which techniques can change.
        scaling: How targets are standardized, or None.
        unscaled: Why they are not, if they might be.
        split: Indices of the training and of the validation samples; None if the user gave `valid`.
        class_weights: Weight of each class, or None.
        shapes: Shape and dtype of each tensor of the inputs, and of the targets, for display.
    """

    kind: str
    reader: Reader
    form: LossForm
    own: bool = False
    dense: bool = False
    ignoring: bool = False
    alike: bool = False
    fit: bool = True
    scaling: Scaling | None = None
    unscaled: str = ""
    split: Split | None = None
    class_weights: Tensor | None = None
    shapes: tuple[str, str] = ("", "")

    def save(self, path: Path) -> None:
        """Write it for the trials of a run, which then need not look at the data again."""
        torch.save(self, path)

    @staticmethod
    def load(path: Path) -> Understanding | None:
        """Return what a run's profile has written, or None."""
        if not path.is_file():
            return None
        # The tensors are mapped into memory, which all processes of a machine share.
        with torch.serialization.safe_globals([Understanding, Reader, LossForm, Readout, Scaling]):
            found: Understanding = torch.load(path, mmap=True)
        return found


def understand(task: Task, model: nn.Module, opened: Mapping[str, Opened | None], seed: int) -> Understanding:
    """Look at a task's data, run the model on a few samples, and return what was found.

    Args:
        task: The user's task.
        model: A model built by the task's factory; unchanged afterwards.
        opened: The task's samples.
        seed: Seed of the split.

    Raises:
        TaskError: If the data, the model, the loss and the metric do not fit together.
    """
    train = opened["train"]
    assert train is not None
    index = first_few(train.source)
    count = len(index)
    with stage("reading a batch of train"):
        batch = train.source.take(index)
    reader = find_reader(model, train, batch, count, task.loss)
    if not train.names and reader.targets != NONE:
        reader = replace(reader, names=_names(reader, train.source))
    with stage("the model's forward"):
        own = find_own_loss(model, reader, batch) if task.loss in (None, MODEL) else None
    if own is None:
        with stage("the model's forward"):
            reader, output = with_dtypes(model, reader, batch)
        loss = task.loss
    else:
        reader, output, loss = own.reader, own.output, own.name
    inputs, targets = reader(batch)
    kind = find_kind(task, inputs)
    with stage("reading the targets of train"):
        every = every_target(reader, _trained_on(task, train.source), targets)
    with stage(f"the loss {getattr(loss, '__name__', loss)}"):
        form = find_loss(loss, output, targets, every, kind == "tokens", task.metric)
    reader = replace(
        reader,
        classes=form.of_classes and not form.raw,
        squeezed=form.squeezed,
        tidied=form.raw and not reader.names,
    )
    dense = form.of_classes and prepared(form, targets).dim() > 1
    shapes = _shapes(*reader.divide(batch))
    ignoring = form.of_classes and (dense or bool((every == form.readout.ignored).any()))
    alike = form.of_classes and not ignoring and len(every) == len(train.source)
    fit = _fit(inputs, count)
    found = Understanding(kind, reader, form, own is not None, dense, ignoring, alike, fit, shapes=shapes)
    found = replace(found, split=_split(task, opened, found, every, seed))
    _check_others(found, opened)
    return _scaled(task, model, found, inputs, targets, output, every)


def _check_others(found: Understanding, opened: Mapping[str, Opened | None]) -> None:
    """Check the labels of valid and test now: those of test are read at the very end."""
    readout = found.form.readout
    for name in ("valid", "test"):
        given = opened[name]
        if given is None or isinstance(given.source, StreamSource) or not found.form.of_classes or found.form.raw:
            continue
        with stage(f"reading the targets of {name}"):
            labels = every_target(found.reader, given.source, None)
        if labels is not None:
            check_classes(labels, readout.classes, readout.ignored, name)


def find_kind(task: Task, inputs: Any) -> str:
    """Return the kind that the user stated, or infer it from the inputs.

    Rank 4 [n, c, h, w] is an image, rank 3 [n, t, c] a series, and rank 2 of integers other than uint8 [n, t] is
    tokens. Everything else is a table, and so is what the model takes as real numbers.

    Raises:
        TaskError: If the stated kind is unknown.
    """
    if task.kind is not None:
        if task.kind not in KINDS:
            raise TaskError(f"kind = {task.kind!r} is not one of {', '.join(KINDS)}")
        return task.kind
    named = inputs.get("input_ids") if isinstance(inputs, dict) else None
    found = tensors_in(named if named is not None else inputs)
    if not found:
        return "table"
    if found[0].dim() == 4:
        return "image"
    if found[0].dim() == 3:
        return "series"
    whole = not found[0].is_floating_point() and not found[0].is_complex() and found[0].dtype != torch.uint8
    return "tokens" if found[0].dim() == 2 and whole else "table"


def targets_of(reader: Reader, source: Source) -> Any:
    """Return the targets of a source as its data has them: all of arrays in memory, else of a random part."""
    if isinstance(source, ArraySource):
        return reader.divide(source.arrays)[1]
    if isinstance(source, SubsetSource) and isinstance(source.source, ArraySource):
        every = reader.divide(source.source.arrays)[1]
        return every[source.positions] if isinstance(every, Tensor) else None
    count = len(source)
    index = torch.arange(count or PROBED)
    if count > PROBED:
        index = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:PROBED].sort().values
    return _joined([reader.divide(source.take(part))[1] for part in _parts(source, index)])


def _parts(source: Source, index: Tensor) -> Sequence[Tensor]:
    # The first samples of a stream are all that can be looked at.
    return [index] if isinstance(source, StreamSource) else index.split(AT_ONCE)


def _joined(parts: Sequence[Any]) -> Any:
    if all(isinstance(part, Tensor) and part.shape[1:] == parts[0].shape[1:] for part in parts):
        return torch.cat(list(parts))
    # Labels that are text come as lists; of other targets there is no one form.
    return [label for part in parts for label in part] if isinstance(parts[0], list | tuple) else parts[0]


def every_target(reader: Reader, source: Source, few: Any) -> Any:
    """Return the targets to judge labels by; those of a few samples if there are none, or not one tensor."""
    if reader.targets == NONE or not (few is None or isinstance(few, Tensor)):
        return few
    found = reader.labels(targets_of(replace(reader, fed=NONE), source))
    return found if isinstance(found, Tensor) else few


def _trained_on(task: Task, source: Source) -> Source:
    """Return a stream without its first samples if they are for validation, and any other source unchanged."""
    if isinstance(source, StreamSource) and task.valid is None:
        return replace(source, skipped=task.valid_samples or 0)
    return source


def _names(reader: Reader, source: Source) -> tuple[str, ...]:
    """Return the class names if a dataset's labels are strings, sorted as LabelEncoder sorts them."""
    few = reader.divide(source.take(torch.arange(1)))[1]
    if not (isinstance(few, tuple | list) and few and isinstance(few[0], str)):
        return ()
    parts = _parts(source, torch.arange(len(source) or PROBED))
    return tuple(sorted({str(label) for part in parts for label in reader.divide(source.take(part))[1]}))


def _fit(inputs: Any, count: int) -> bool:
    found = tensors_in(inputs)
    return bool(found) and all(t.dim() > 0 and len(t) == count for t in found)


def _shapes(inputs: Any, targets: Any) -> tuple[str, str]:
    def described(data: Any) -> str:
        parts = [
            f"{str(t.dtype).removeprefix('torch.')} {['n', *t.shape[1:]]}".replace("'", "")
            for t in tensors_in(data)
        ]
        return ", ".join(dict.fromkeys(parts)) or type(data).__name__

    return described(inputs), described(targets)


def _split(
    task: Task, opened: Mapping[str, Opened | None], found: Understanding, every: Any, seed: int
) -> Split | None:
    train = opened["train"]
    assert train is not None
    if opened["valid"] is not None:
        if task.folds:
            raise TaskError("folds are parts of the training data that take turns; leave out valid=, or folds=")
        return None
    if isinstance(train.source, StreamSource):
        return None
    count = len(train.source)
    labels = strata(found, every, count)
    return fold(task, count, labels, seed, 0) if task.folds else split(task, count, labels, seed)


def strata(found: Understanding, every: Any, count: int) -> Tensor | None:
    """Return the class of each sample, or None if there is none or not all are known."""
    if found.form.readout.kind not in (CLASSES, BINARY) or not isinstance(every, Tensor):
        return None
    labels = prepared(found.form, every)
    return labels if labels.dim() == 1 and len(labels) == count else None


def _scaled(
    task: Task, model: nn.Module, found: Understanding, inputs: Any, targets: Any, output: Any, every: Any
) -> Understanding:
    """Add how targets are standardized; the validation samples have no part in the statistics."""
    if found.form.name not in SCALABLE or found.form.raw or not found.form.per_sample:
        if task.target_scaling:
            raise TaskError(
                f"target_scaling=True needs one of the losses {', '.join(SCALABLE)}, not {found.form.name}"
            )
        return found
    scaling, why = None, "target_scaling=False"
    if task.target_scaling is not False:
        if found.reader.targets == NONE or _equal(inputs, targets):
            why = "the targets are the inputs"
        else:
            kept = every[found.split[0]] if found.split is not None and _all(every, found.split) else every
            scaling, why = find_scaling(model, inputs, kept, main_tensor(output))
    if scaling is None and task.target_scaling:
        raise TaskError(f"target_scaling=True, but the targets cannot be scaled: {why}")
    return replace(found, scaling=scaling, unscaled=why)


def _all(every: Tensor, parts: Split) -> bool:
    return len(every) == len(parts[0]) + len(parts[1])


def _equal(inputs: Any, targets: Any) -> bool:
    return any(
        t.shape == targets.shape and torch.equal(t.double(), targets.double())
        for t in tensors_in(inputs)
        if not t.is_complex() and isinstance(targets, Tensor)
    )
