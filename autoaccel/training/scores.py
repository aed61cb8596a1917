"""Scores of a set of samples, batch by batch: what a loss and a metric need of each, and both of all together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from autoaccel.techniques.shared.tensors import main_tensor, map_tensors
from autoaccel.training.data.prepare import Data
from autoaccel.training.data.reading import ReadSource
from autoaccel.training.metrics.metric import Losses, OutputMetric

WHOLE_BATCH = 64
"""Samples of a batch where the loss is one number a batch, whose value depends on it; that of the plain recipe."""


@dataclass(frozen=True)
class Score:
    """The result of one evaluation.

    Args:
        metric: The user's metric.
        loss: Mean task loss, in the units of the user's targets.
        standard_error: Standard error of the metric; None if unknown, or not asked for and not for free.
    """

    metric: float
    loss: float
    standard_error: float | None

    def __str__(self) -> str:
        return f"metric {self.metric:.6g}, loss {self.loss:.6g}"


@dataclass(frozen=True)
class BatchScore:
    """What is kept of a batch.

    Args:
        losses: Loss of each sample, shape [n], or of the whole batch, shape [1].
        counts: How much each loss counts, of the same shape; None if all count alike.
        kept: What the metric needs, or None.
    """

    losses: Tensor
    counts: Tensor | None
    kept: Any


def batch_size(data: Data, most: int) -> int:
    """Return how many samples to score at once, at most `most`."""
    return most if data.objective.per_sample else min(most, data.batch_size or WHOLE_BATCH)


def score_batch(
    data: Data, source: ReadSource, index: Tensor, run: Callable[[Any], Any], device: torch.device
) -> BatchScore:
    """Score some samples.

    Args:
        data: The task's data.
        source: The samples.
        index: Indices of the samples, shape [n].
        run: Runs the model on inputs.
        device: The model's device.
    """
    inputs, targets = map_tensors(lambda t: t.to(device, non_blocking=True), source.take(index))
    # Of these samples it is not known whether all labels count.
    objective, metric = replace(data.objective, alike=False), data.metric
    raw = run(inputs)
    output = objective.view(raw)
    losses, counts = objective.evaluate(output, targets).float(), objective.counts(targets)
    if not objective.per_sample:
        losses, counts = losses[None], torch.tensor([float(len(index))])
    weights = data.weights.get(data.part(source))
    if weights is not None:
        weights = weights[index].to(losses.device)
        counts = weights if counts is None else counts * weights
    if isinstance(metric, OutputMetric):
        shown = raw if objective.scaling is None else output
    else:
        shown = main_tensor(output)
    return BatchScore(losses, counts, metric.collect(objective.original(shown), targets, weights))


@dataclass(frozen=True)
class Kept:
    """What is kept of several batches, on the CPU.

    Args:
        losses: Their losses.
        outputs: What the metric needs of each batch.
    """

    losses: Losses
    outputs: list[Any]

    @classmethod
    def together(cls, parts: Sequence[Kept]) -> Kept:
        """Return several parts as one, in their order."""
        counts = [part.losses.counts for part in parts if part.losses.counts is not None]
        losses = Losses(torch.cat([part.losses.each for part in parts]), torch.cat(counts) if counts else None)
        return cls(losses, [output for part in parts for output in part.outputs])


def joined(data: Data, batches: Sequence[BatchScore], error: bool = False) -> Score:
    """Return the score of all batches together; see `scored`."""
    return scored(data, on_cpu(batches), error)


def scored(data: Data, kept: Kept, error: bool = False) -> Score:
    """Return the score of what was kept.

    Args:
        data: The task's data.
        kept: What was kept of all batches.
        error: Whether the standard error is needed where it takes further calls of the metric.
    """
    metric, standard_error = data.metric.evaluate(kept.losses, kept.outputs, error)
    return Score(metric, kept.losses.mean(), standard_error)


def on_cpu(batches: Sequence[BatchScore]) -> Kept:
    """Return the losses and what the metric needs; copied once, so that a GPU is not waited for at every batch."""
    counts = [batch.counts.cpu() for batch in batches if batch.counts is not None]
    losses = Losses(torch.cat([batch.losses for batch in batches]).cpu(), torch.cat(counts) if counts else None)
    kept = [map_tensors(lambda t: t.cpu(), batch.kept) for batch in batches if batch.kept is not None]
    return Kept(losses, kept)
