"""A final training that was cut off: the best weights at its checkpoint are delivered, if it was far enough."""

from __future__ import annotations

from dataclasses import replace

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import SECONDS, Cost
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import LATE, OutcomeKind, Purpose, TrialRequest

STARTING = 1.5
"""Seconds that a process takes to be where the checkpoint was."""
LATER = 60.0
"""Seconds that it may take when the time is over anyway, its test set included."""
CUT_OFF = (OutcomeKind.TIMED_OUT, OutcomeKind.LOST)
"""Ends after which a training's state on disk is still good."""


def salvageable(trials: Trials, *more: OutcomeKind) -> TrialRecord | None:
    """Return a final training whose weights at its checkpoint may be delivered; None if there is none.

    Args:
        trials: All trials.
        more: Further kinds of ends that count as cut off.
    """
    finals = trials.of(Purpose.FINAL)
    settled = max((each.number for each in finals if each.request.salvage or each.final), default=-1)
    for record in reversed(finals):
        if record.outcome and record.number > settled and record.outcome.kind in (*CUT_OFF, *more):
            return record if record.request.keep_best and _reached(record) >= LATE else None
    return None


def salvage_request(record: TrialRecord, trial: int, left: float | None = None) -> TrialRequest | None:
    """Return a request that delivers the best weights of a training at its checkpoint.

    Args:
        record: The training.
        trial: The number of the new trial.
        left: Seconds that it may take; None if the time is over. If they are too few, nothing is returned.
    """
    assert record.checkpoint is not None
    number, carried = record.checkpoint
    request = replace(record.request, trial=trial, resumes=number, carried=carried, salvage=True, grace=None)
    if not request.budget.seconds:
        return request
    if left is None:
        left = LATER
    elif left < STARTING + (request.evaluation * 2 + request.finalization).seconds:
        return None
    return replace(request, budget=Budget({**request.budget, SECONDS: carried.seconds + left}), grace=0.0)


def _reached(record: TrialRecord) -> float:
    """Return the progress of the last evaluation that the training's checkpoint knows of."""
    spent = record.checkpoint[1] if record.checkpoint else Cost()
    known = [report.progress for report in record.reports if report.cost["steps"] <= spent["steps"]]
    return max(known, default=0.0)
