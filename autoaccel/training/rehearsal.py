"""A rehearsal: everything that a run will do, on a few samples and before anything is spent.

What fails here would otherwise fail after hours. Each failure names the step, the user's line and what to do.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from autoaccel.core.clock import SystemClock
from autoaccel.core.recipe import PLAIN
from autoaccel.errors import TaskError
from autoaccel.techniques.base import Batch
from autoaccel.techniques.registry import build, catalog
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import assemble
from autoaccel.training.checkpoint import load_weights, save_weights
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.capabilities import WHY, task_capabilities
from autoaccel.training.data.prepare import Data, build_model, materialize
from autoaccel.training.data.reading import LAST, NONE
from autoaccel.training.data.sources import FEW, StreamSource
from autoaccel.training.data.stages import stage
from autoaccel.training.data.task import Task
from autoaccel.training.device import out_of_memory
from autoaccel.training.evaluate import score
from autoaccel.training.finalize import speak_in_units
from autoaccel.training.loop import Step
from autoaccel.training.metrics.readout import BINARY, CLASSES, LABELS, OTHER
from autoaccel.training.scores import Score
from autoaccel.training.too_large import one_device

GETS = (
    "it gets the targets and the predictions, as in scikit-learn; with metric_on='output' it gets the targets and"
    " what the model returns"
)
SCORED = (2 * FEW, 256)
"""Samples on which the metric is tried, ascending: with a large model on a CPU they are most of what this costs."""
OWN = "the model's own, "
FEW_VALID = 500
"""Below this many validation samples folds are suggested."""
SHOWN = 8
"""Class names that are shown."""
SAME = 1e-4
"""Largest relative difference between the scores of a model and of its saved weights."""


def rehearse_training(task: Task, context: TrainingContext) -> None:
    """Train one step and evaluate, both on a few samples.

    Raises:
        TaskError: If a step fails, the loss gives no gradient, or the loss or the metric is not finite.
    """
    size, context.batch_size = context.batch_size, FEW
    context.model.train()
    with stage("reading a batch of train"):
        batch = next(iter(BatchSampler(context, 0)))
    with stage(f"the loss {context.data.objective.name}, or the forward pass before it,"):
        has_gradient = _has_gradient(context, batch)
    if not has_gradient:
        raise TaskError(
            f"the loss {context.data.objective.name} has no gradient: it was detached, or does not depend on the"
            " parameters of the model"
        )
    with stage("a training step"):
        before = [p.detach().clone() for p in _few_parameters(context.model)]
        Step(context)(batch)
    context.batch_size = size
    if all(
        p.grad is None and torch.equal(p, b) for p, b in zip(_few_parameters(context.model), before, strict=True)
    ):
        raise TaskError(
            "a training step changes no weight: the loss does not depend on the parameters of the model"
        )
    with stage(f"the metric {context.data.metric.name}", GETS if callable(task.metric) else ""):
        found = _scored(context)
    if not math.isfinite(found.loss):
        raise TaskError(f"the validation loss of {context.data.objective.name} is {found.loss} after one step")
    if not math.isfinite(found.metric):
        raise TaskError(f"the metric {context.data.metric.name} is {found.metric} on the validation data")


def _has_gradient(context: TrainingContext, batch: Batch) -> bool:
    """Return whether the loss of a batch has one; of its first sample if memory does not suffice for more."""
    try:
        return context.losses(batch)[0].requires_grad
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    return context.losses(context.chunks(batch, 1)[0][0])[0].requires_grad


def rehearse_delivery(task: Task, context: TrainingContext) -> None:
    """Save, load into a new model of the user's factory, and score both; the context is spent afterwards.

    Raises:
        TaskError: If the weights cannot be saved or loaded, or the loaded model scores otherwise.
    """
    valid = context.data.valid
    context.optimizer.zero_grad()
    context.optimizer.state.clear()  # or a second model may not fit
    with stage("scaling the targets back", "Task(target_scaling=False) does without"):
        speak_in_units(context)
    before = score(context, valid, FEW, error=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        with stage("saving the weights"):
            save_weights(context.model, path)
        context.model.cpu()  # both may not fit on the device
        with stage("loading the saved weights", "the factory must build the same model each time"):
            fresh = build_model(task, {}).to(context.device)
            materialize(fresh, context.data.train)
            _compare_shapes(context.model, fresh)
            load_weights(fresh, path)
    context.model = context.network = fresh.to(context.device)
    context.meter.forget()
    after = score(context, valid, FEW, error=False)
    if abs(before.loss - after.loss) > SAME * max(abs(before.loss), SAME):
        raise TaskError(
            f"the saved weights score a loss of {after.loss:.6g} in a new model, but {before.loss:.6g} in the"
            " trained one: the model has a state that is neither a parameter nor a buffer, or its output is random"
            " in eval mode"
        )


def _compare_shapes(trained: nn.Module, fresh: nn.Module) -> None:
    # Loading fits layers to pruned weights, so that it accepts what it should not accept here.
    ours, theirs = ({name: tuple(p.shape) for name, p in model.named_parameters()} for model in (fresh, trained))
    if ours != theirs:
        name = next(name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name))
        raise TaskError(
            f"loading the saved weights fails: the factory makes another model each time, {name} has the shape"
            f" {ours.get(name)} and had {theirs.get(name)}"
        )


def _few_parameters(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad][:FEW]


def _scored(context: TrainingContext) -> Score:
    """Score a few samples; more, and at last all, if the metric is not defined on so few."""
    for samples in SCORED:
        with suppress(ValueError):  # such as the area under a curve of a single class
            found = score(context, context.data.valid, samples, error=False)
            if math.isfinite(found.metric) and math.isfinite(found.loss):
                return found
    return score(context, context.data.valid, error=False)


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsed task.

    Args:
        data: The task's data.
        understood: What was understood, one line each.
    """

    data: Data
    understood: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return what was understood, one line each."""
        return list(self.understood)


@one_device()
def rehearse(task: Task, seed: int = 0, cpu: bool = False, save: Path | None = None) -> Rehearsal:
    """Rehearse a task with the plain recipe.

    Args:
        task: The user's task.
        seed: Seed of the split and of the model.
        cpu: Use the CPU even if there is a GPU.
        save: File for what was understood; None writes none.

    Raises:
        TaskError: If a step fails, or the model does not fit on one device.
    """
    clock = SystemClock()
    context = assemble(task, build(PLAIN["plain"].chosen()), {}, seed, seed, clock, clock.now(), cpu)
    rehearse_training(task, context)
    data, lines = context.data, tuple(described(task, context))
    rehearse_delivery(task, context)
    if save is not None:
        data.found.save(save)
    return Rehearsal(data, lines)


def described(task: Task, context: TrainingContext) -> Iterator[str]:
    """Yield what was understood of a task, one line each."""
    data = context.data
    found, reader = data.found, data.found.reader
    cast = ", cast to floats (not rescaled)" if reader.cast else ""
    yield f"inputs: {found.kind}, {found.shapes[0]}{cast}"
    yield f"targets: {_targets(data)}"
    yield f"loss: {data.objective.name}, {OWN if found.own else ''}{_mean(data)}"
    yield f"metric: {data.metric.name}, {'larger' if data.metric.maximize else 'smaller'} is better{_reads(data)}"
    if data.weights:
        yield f"weights: of the {' and '.join(data.weights)} samples"
    if data.objective.scaling is not None:
        yield "target scaling: on in training, folded into the last layer at the end"
    elif found.unscaled:
        yield f"target scaling: off, {found.unscaled}"
    yield _sizes(task, data)
    if data.found.split is not None and len(data.valid) < FEW_VALID and not task.folds:
        yield (
            f"validation: {len(data.valid)} samples cannot tell similar recipes apart (an accuracy of 0.9 is off by"
            f" {math.sqrt(0.09 / len(data.valid)):.2g} at one standard error); folds=5 judges each on all"
            f" {len(data.train) + len(data.valid)}"
        )
    if data.order is not None or data.batches is not None:
        yield f"order: your {type(data.order if data.batches is None else data.batches).__name__}"
    if context.meter.flops_estimated:
        yield "FLOPs: estimated, since the operations of the model cannot be counted"
    yield from _left_out(task, data, context.model)


def _left_out(task: Task, data: Data, model: nn.Module) -> Iterator[str]:
    """Yield the techniques that are left out for a reason that lies in the task's loss, data or order."""
    offered = task_capabilities(task, data, model, WHY)
    for capability, why in WHY.items():
        names = sorted(info.name for info in catalog().values() if capability in info.requires)
        if capability not in offered:
            yield f"left out: {', '.join(names)}, since {why}"


def _targets(data: Data) -> str:
    reader, readout = data.found.reader, data.found.form.readout
    if reader.targets == NONE:
        return "no targets; the loss gets the inputs instead"
    key = f", under the key {reader.targets!r}" if reader.targets != LAST else ""
    following = ", those of the next position" if reader.shift else ""
    what = "labels that are each 0 or 1" if readout.kind == LABELS else "classes"
    count = f", {readout.classes} {what}" if readout.classes else ""
    named = f" ({', '.join(reader.names[:SHOWN])}{', ...' if len(reader.names) > SHOWN else ''})"
    return f"{data.found.shapes[1]}{key}{following}{count}{named if reader.names else ''}"


def _mean(data: Data) -> str:
    if not data.objective.per_sample:
        return "one number a batch"
    if not data.objective.of_classes:
        return "one a sample"
    weighted = ", weighted by class" if data.objective.weight is not None else ""
    return (
        f"a mean over labels other than {data.objective.ignored}{weighted}"
        if data.found.dense
        else f"one a sample{weighted}"
    )


def _reads(data: Data) -> str:
    kind = data.found.form.readout.kind
    if data.metric.name in ("loss", "perplexity") or kind == OTHER:
        return ""
    scale = data.found.form.readout.scale
    return f", from {scale}" if kind in (CLASSES, BINARY, LABELS) else ", from values"


def _sizes(task: Task, data: Data) -> str:
    train = str(len(data.train))
    if isinstance(data.train.source, StreamSource):
        train = f"a stream of {len(data.train) or 'an unknown number of'} samples"
    test = f", {len(data.test)} for test" if data.test is not None else ""
    if data.found.split is None:
        return f"samples: {train} for training, {len(data.valid)} for validation{test}"
    how = (
        "the last ones in time" if task.order == "time" else "by groups" if task.groups is not None else "at random"
    )
    if task.folds:
        how = f"in {task.folds} folds"
    return f"samples: {train} for training, {len(data.valid)} split from them for validation, {how}{test}"
