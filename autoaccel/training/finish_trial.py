"""What follows the last step of a trial: weights are saved, then the test set is scored and the model measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from autoaccel.core.quantities import SECONDS, Cost, format_amount
from autoaccel.core.trial import Outcome, OutcomeKind, Report, TrialRequest
from autoaccel.training.best import Best
from autoaccel.training.checkpointer import log
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.task import Task
from autoaccel.training.failures import failure_of, together
from autoaccel.training.finalize import finalize
from autoaccel.training.footprint import measure
from autoaccel.training.ranks import Ranks
from autoaccel.training.trial_environment import WEIGHTS, TrialEnvironment

SLACK = 0.01
"""Share of a limit by which it may be exceeded to score the test set: what an evaluation takes is estimated."""


@dataclass(frozen=True)
class Trained:
    """A training that has reached its end.

    Args:
        reports: Its reports.
        best: Its best weights, if they were kept.
        evaluation: Cost of an evaluation.
        reason: Why it ended early; empty if it did not.
    """

    reports: Sequence[Report]
    best: Best | None
    evaluation: Cost
    reason: str

    def outcome(self, spent: Cost, metric: str) -> Outcome:
        """Return the outcome with what is known before the test."""
        final, last, best = self.reports[-1], None, self.best
        if best is not None and best.score is not None:
            chosen = next(made for made in reversed(self.reports) if made.progress == best.at)
            final = replace(chosen, **asdict(best.score))
            last = self.reports[-1] if best.earlier and best.last else None
        return Outcome(OutcomeKind.COMPLETE, spent, final, reason=self.reason, metric=metric, last=last)


def finish(
    task: Task, context: TrainingContext, request: TrialRequest, environment: TrialEnvironment, trained: Trained
) -> Outcome:
    """Save, test and measure; return the outcome. What is saved counts, whatever comes of the test."""
    metric, path = context.data.metric.name, None if environment.folder is None else environment.folder / WEIGHTS
    outcome: Outcome | None = None

    def saved() -> bool:
        nonlocal outcome
        outcome = trained.outcome(context.meter.spent(), metric)
        if not request.test or context.data.test is None:
            return False
        # Each reads its own clock, and the first one's decides.
        outcome = replace(
            outcome, untested=together(lambda: _unaffordable(context, request, trained.evaluation))[0]
        )
        if not outcome.untested:
            environment.finished(replace(outcome, untested="scoring it did not come to its end"))
        return not outcome.untested

    try:
        tested = finalize(context, path, request.test, trained.best, request.valid_samples, saved)
    except Exception as error:  # the data and metric of the test set are the user's too
        if outcome is None:
            raise
        failure = failure_of(error)
        if failure.trace:
            log(failure.trace)
        return replace(outcome, cost=context.meter.spent(), untested=failure.reason, where=failure.where)
    assert outcome is not None
    test = {} if tested is None else asdict(tested)
    own = request.measure and path is not None and Ranks().rank == 0
    measured = together(lambda: measure(task, request, path, context) if own and path else {})[0]
    context.meter.settle()
    return replace(outcome, cost=context.meter.spent(), test=test, measured=measured)


def _unaffordable(context: TrainingContext, request: TrialRequest, evaluation: Cost) -> str:
    """Return why the budget does not allow to score the test set; empty if it does."""
    assert context.data.test is not None
    count, validated = len(context.data.test), request.valid_samples or len(context.data.valid)
    limits = request.budget.resolve(len(context.data.train))
    for name, amount in (context.meter.spent() + evaluation * (count / validated)).items():
        most = limits.get(name, math.inf) * (1 + SLACK) + (request.grace or 0.0 if name == SECONDS else 0.0)
        if amount > most and evaluation[name]:
            need, left = evaluation[name] * (count / validated), max(0.0, most - context.meter.spent()[name])
            return f"it takes about {format_amount(name, need)}, and {format_amount(name, left)} are left"
    return ""
