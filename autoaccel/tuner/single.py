"""A single training, for `train`: no search, one request, one outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.clock import Clock
from autoaccel.core.events import Finished, Reported
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import Outcome, OutcomeKind, TrialRequest
from autoaccel.errors import TaskError
from autoaccel.execution.base import Executor
from autoaccel.reporting.terminal import Display
from autoaccel.storage.loading import inference_lines
from autoaccel.tuner.interrupts import PATIENCE, interrupts
from autoaccel.tuner.summary import SCHEMA, outcome_data

RESERVE = 0.9
"""Seconds of the budget reserved for ending the processes."""


def train_alone(executor: Executor, request: TrialRequest, clock: Clock, view: Display) -> Outcome:
    """Train and show the progress; the first Ctrl-C asks the training to finish early.

    Raises:
        TaskError: If the training does not complete.
        KeyboardInterrupt: If it is interrupted before its first step, or a second time.
    """
    budget = request.budget
    if budget.seconds:
        budget = budget.less(Cost(seconds=clock.now() + RESERVE)) or budget
    request, started, asked = replace(request, budget=budget), clock.now(), False
    # Without a grace period it is never killed: it ends by itself, and killing it would lose the result.
    executor.start(request)
    with interrupts() as interrupted:
        while True:
            stop = interrupted()
            if stop and stop.preempted and asked:
                raise KeyboardInterrupt
            if stop and not asked:
                asked = True
                executor.finish_early(request.trial)
                view.finishing(request, started, clock.now())
            for event in executor.poll(PATIENCE):
                if isinstance(event, Reported):
                    view.report(event.report, clock.now())
                    executor.proceed(event.report.trial)
                if isinstance(event, Finished):
                    return _completed(event.outcome)


def _completed(outcome: Outcome) -> Outcome:
    if outcome.kind is OutcomeKind.PRUNED:
        raise KeyboardInterrupt  # asked to finish before its first step: there is nothing to keep
    if outcome.kind is not OutcomeKind.COMPLETE or outcome.final is None:
        raise TaskError(f"training ended as {outcome.kind.value}: {outcome.reason}", outcome.where or None)
    return outcome


def training_data(
    outcome: Outcome, recipe: Recipe, budget: Budget, target: str, folder: Path, names: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the contents of `result.json`; `names` are the classes where labels were strings."""
    final = outcome.final
    assert final is not None
    return {
        "schema": SCHEMA,
        "status": "interrupted" if outcome.reason else "complete",
        "headline": f"Trained {outcome.cost.steps:.0f} steps: {outcome.metric} {final.metric:.4g}, "
        f"loss {'unknown' if final.loss is None else f'{final.loss:.4g}'} on the validation set.",
        **({"classes": list(names)} if names else {}),
        "metric": {"name": outcome.metric},
        "final": outcome_data(budget, outcome, final),
        "recipe": recipe.to_data(),
        "target": target,
        "folder": str(folder.resolve()),
        "load": inference_lines(folder),
        "spent": {"final": dict(outcome.cost)},
    }
