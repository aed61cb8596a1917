"""Judge a recipe on folds: train it once for each part of the data that is held out, all on one budget."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

from autoaccel.core.quantities import Cost
from autoaccel.core.trial import Outcome, OutcomeKind, Report, TrialRequest
from autoaccel.training.data.prepare import build_model, prepare, refold
from autoaccel.training.data.task import Task
from autoaccel.training.data.understanding import Understanding

RunFold = Callable[[TrialRequest, Understanding, int], Outcome]
"""Trains one fold: its request, the understanding with its split, and its number."""


def run_folds(
    task: Task,
    request: TrialRequest,
    found: Understanding | None,
    seed: int,
    run: RunFold,
    report: Callable[[Report], bool],
) -> Outcome:
    """Train a recipe on each fold in turn with an equal share of the budget.

    The weights that are kept are those of the first fold. The metric is the mean over the folds, and its standard
    error comes from their spread, which holds the noise of both the samples and the training.

    Args:
        task: The user's task, with folds.
        request: The trial.
        found: What was understood of the task, or None.
        seed: Seed of the folds.
        run: Trains one fold.
        report: Called with the mean over all folds.
    """
    count = request.folds
    if found is None:
        found = prepare(task, build_model(task, request.recipe.model), seed).found
    part = replace(
        request, budget=request.budget * (1 / count), milestones=(1.0,), folds=0, test=False, keep_best=False
    )
    outcomes: list[Outcome] = []
    for number in range(count):
        outcome = run(part, refold(task, found, seed, number), number)
        outcomes.append(outcome)
        if outcome.kind is not OutcomeKind.COMPLETE:
            return replace(outcome, cost=_total(outcomes))
    final = _mean(request.trial, [outcome.final for outcome in outcomes if outcome.final], _total(outcomes))
    report(final)
    return replace(outcomes[0], cost=_total(outcomes), final=final)


def _total(outcomes: Sequence[Outcome]) -> Cost:
    return sum((outcome.cost for outcome in outcomes), Cost())


def _mean(trial: int, reports: Sequence[Report], cost: Cost) -> Report:
    metrics = [report.metric for report in reports]
    losses = [report.loss for report in reports if report.loss is not None]
    return Report(
        trial,
        milestone=0,
        progress=1.0,
        metric=statistics.fmean(metrics),
        loss=statistics.fmean(losses) if len(losses) == len(reports) else None,
        standard_error=statistics.stdev(metrics) / math.sqrt(len(metrics)),
        cost=cost,
    )
