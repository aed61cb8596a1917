"""Evaluate a model: its loss and metric on a set of samples, within the techniques' `evaluate` contexts."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from autoaccel.core.quantities import Cost
from autoaccel.techniques.shared.modules import evaluating
from autoaccel.techniques.shared.tensors import map_tensors
from autoaccel.training.context import BATCH, TrainingContext
from autoaccel.training.data.sources import Source


@dataclass(frozen=True)
class Score:
    """The result of one evaluation.

    Args:
        metric: The user's metric.
        loss: Mean task loss, in the units of the user's targets.
        standard_error: Standard error of the metric.
    """

    metric: float
    loss: float
    standard_error: float


def evaluate(context: TrainingContext, source: Source, samples: int = 0) -> Score:
    """Score the weights that the techniques put in place for evaluation, and restore the training weights.

    Args:
        context: The training.
        source: The samples to score on.
        samples: Use only this many of them, always the same; 0 for all.
    """
    with ExitStack() as stack:
        for manager in context.evaluating():
            stack.enter_context(manager)
        return score(context, source, samples)


def score(context: TrainingContext, source: Source, samples: int = 0) -> Score:
    """Score the current weights."""
    with evaluating(context.model), torch.inference_mode():
        losses, targets, output = _run(context, source, _indices(len(source), samples))
    metric, standard_error = context.data.metric.evaluate(losses, targets, output)
    return Score(metric, float(losses.mean()), standard_error)


def expected_cost(context: TrainingContext, source: Source) -> Cost:
    """Estimate the cost of scoring on `source` from a few of its samples; that of the estimate is booked too."""
    indices = _indices(len(source), BATCH)
    with evaluating(context.model), torch.inference_mode():
        _run(context, source, indices)  # the first run includes lazy initialization
        before = context.meter.spent()
        _run(context, source, indices)
    return (context.meter.spent() - before) * (len(source) / len(indices))


def _indices(count: int, samples: int) -> Tensor:
    if not samples or samples >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:samples].sort().values


def _run(context: TrainingContext, source: Source, indices: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    objective, keep = context.data.objective, context.data.metric.score is not None
    losses, targets, outputs = [], [], []
    done = 0
    while done < len(indices):
        part = indices[done : done + min(context.evaluation_batch, context.micro_batch or BATCH)]
        if (found := _forward(context, source, part)) is None:
            context.evaluation_batch = (len(part) + 1) // 2
            if context.device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        done += len(part)
        loss, wanted, output = found
        losses.append(loss)
        if keep:
            targets.append(wanted)
            outputs.append(objective.original(output))
    # Transfer once at the end, so that a GPU is not synchronized after every batch.
    kept = (torch.cat(targets).cpu(), torch.cat(outputs).float().cpu()) if keep else (None, None)
    return torch.cat(losses).cpu(), *kept


def _forward(context: TrainingContext, source: Source, part: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return the losses, targets and outputs of some samples, or None if memory ran out."""
    inputs, wanted = source.take(part)
    inputs = map_tensors(lambda t: t.to(context.device, non_blocking=True), inputs)
    wanted = wanted.to(context.device, non_blocking=True)
    try:
        output = context.forward(inputs)
        return context.data.objective.evaluate(output, wanted).float(), wanted, output
    except torch.OutOfMemoryError:
        if len(part) == 1:
            raise
        return None
