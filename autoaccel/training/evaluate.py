"""Evaluate a model: its loss and metric on a set of samples, within the techniques' `evaluate` contexts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from autoaccel.core.quantities import Cost
from autoaccel.techniques.shared.modules import evaluating
from autoaccel.training.context import BATCH, TrainingContext
from autoaccel.training.data.reading import ReadSource
from autoaccel.training.device import out_of_memory
from autoaccel.training.scores import BatchScore, Score, batch_size, joined, on_cpu, score_batch


def evaluate(context: TrainingContext, source: ReadSource, samples: int = 0, error: bool = True) -> Score:
    """Score the weights that the techniques put in place for evaluation, and restore the training weights.

    Args:
        context: The training.
        source: The samples to score on.
        samples: Use only this many of them, always the same; 0 for all.
        error: Whether the standard error is needed where it takes further calls of the metric.
    """
    with evaluated_weights(context):
        return score(context, source, samples, error)


@contextmanager
def evaluated_weights(context: TrainingContext) -> Iterator[None]:
    """Let the techniques put the weights that are evaluated in place, and restore the training weights on exit."""
    with ExitStack() as stack:
        for manager in context.evaluating():
            stack.enter_context(manager)
        yield


def score(context: TrainingContext, source: ReadSource, samples: int = 0, error: bool = True) -> Score:
    """Score the current weights; see `evaluate`."""
    with evaluating(context.model), torch.inference_mode():
        batches = _run(context, source, _indices(len(source), samples))
    return joined(context.data, batches, error)


def expected_cost(context: TrainingContext, source: ReadSource) -> tuple[Cost, Cost]:
    """Estimate the cost of scoring on `source` from a few of its samples; that of the estimate is booked too.

    What the metric takes is measured on as many values as there will be.

    Returns:
        The cost without a standard error, and that of a standard error where it takes further calls of the metric.
    """
    indices, metric = _indices(len(source), BATCH), context.data.metric
    with evaluating(context.model), torch.inference_mode():
        _run(context, source, indices)  # the first run includes lazy initialization
        before = context.meter.spent()
        losses, kept = on_cpu(_run(context, source, indices))
    forward, times = context.meter.spent() - before, len(source) / len(indices)
    before = context.meter.spent()
    metric.evaluate(losses, kept * max(1, round(times)), error=False)
    computed = context.meter.spent() - before
    return forward * times + computed, computed * metric.resamples(len(source))


def _indices(count: int, samples: int) -> Tensor:
    if not samples or samples >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:samples].sort().values


def _run(context: TrainingContext, source: ReadSource, indices: Tensor) -> list[BatchScore]:
    """Score batches, of fewer samples as soon as memory runs out."""
    found: list[BatchScore] = []
    done = 0
    while done < len(indices):
        most = min(context.evaluation_batch, context.micro_batch or BATCH)
        part = indices[done : done + batch_size(context.data, most)]
        try:
            found.append(score_batch(context.data, source, part, context.run, context.device))
            done += len(part)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or len(part) == 1:
                raise
            context.evaluation_batch = (len(part) + 1) // 2
            if context.device.type == "cuda":
                torch.cuda.empty_cache()
    return found
