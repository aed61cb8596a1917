"""Evaluate a model: its loss and metric on a set of samples, within the techniques' `evaluate` contexts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor

from autoaccel.core.quantities import Cost
from autoaccel.techniques.shared.modules import evaluating
from autoaccel.training.context import BATCH, TrainingContext
from autoaccel.training.data.reading import ReadSource
from autoaccel.training.device import out_of_memory
from autoaccel.training.failures import together
from autoaccel.training.ranks import Ranks
from autoaccel.training.scores import BatchScore, Kept, Score, batch_size, on_cpu, score_batch, scored


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
    """Score the current weights; see `evaluate`. Several processes score a part of the samples each.

    All of them return the score that the first one computes of that, and fail where one fails.
    """
    ranks, indices = Ranks(), _indices(len(source), samples)
    shared = _shared(context, ranks, len(indices))
    ranks.share_buffers(context.model)
    parts = together(lambda: _kept(context, source, ranks.part(indices) if shared else indices))
    context.meter.settle()
    kept = Kept.together(parts) if shared else parts[0]
    return together(lambda: scored(context.data, kept, error))[0]


def score_alone(context: TrainingContext, source: ReadSource, samples: int) -> Score:
    """Score the current weights in this process, whatever others do, without a standard error that takes time."""
    return scored(context.data, _kept(context, source, _indices(len(source), samples)))


def _kept(context: TrainingContext, source: ReadSource, indices: Tensor) -> Kept:
    with evaluating(context.model), torch.inference_mode():
        return on_cpu(_run(context, source, indices))


def _shared(context: TrainingContext, ranks: Ranks, count: int) -> bool:
    """Return whether processes divide so many samples; a loss of whole batches depends on which are together."""
    return 1 < ranks.world <= count and context.data.objective.per_sample


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
        found = on_cpu(_run(context, source, indices))
    forward, ranks = context.meter.spent() - before, Ranks()
    times = len(source) / len(indices) / (ranks.world if _shared(context, ranks, len(source)) else 1)
    before = context.meter.spent()
    metric.evaluate(found.losses, found.outputs * max(1, round(len(source) / len(indices))), error=False)
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
            # The model itself: wrapped for several processes, its calls would have to be as many on each of them.
            run = partial(context.run, model=context.model)
            found.append(score_batch(context.data, source, part, run, context.device))
            done += len(part)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or len(part) == 1:
                raise
            context.evaluation_batch = (len(part) + 1) // 2
            if context.device.type == "cuda":
                torch.cuda.empty_cache()
    return found
