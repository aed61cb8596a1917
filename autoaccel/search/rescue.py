"""A final training that was cut off: the best weights at its checkpoint are delivered, if it was far enough."""

from __future__ import annotations

from dataclasses import replace

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import SECONDS
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import LATE, OutcomeKind, Purpose, TrialRequest
from autoaccel.search.retries import RETRIES

STARTING = 1.5
"""Seconds that a process takes to be where the checkpoint was."""
CUT_OFF = (OutcomeKind.TIMED_OUT, OutcomeKind.LOST)
"""Ends after which a training's state on disk is still good."""


def rescuable(trials: Trials, *more: OutcomeKind, first: int = 0) -> TrialRecord | None:
    """Return a final training whose weights at its checkpoint may be delivered; None if there is none.

    Args:
        trials: All trials.
        more: Further kinds of ends that count as cut off.
        first: Number of the first trial that counts.
    """
    finals = [record for record in trials.of(Purpose.FINAL) if record.number >= first]
    rescues = [record for record in finals if record.request.rescue]
    settled = any(record.final for record in finals) or any(not record.unfinished for record in rescues)
    died = sum(record.outcome is not None and record.outcome.kind is OutcomeKind.LOST for record in rescues)
    if settled or died > RETRIES:
        return None
    for record in reversed(finals):
        if record.outcome and not record.request.rescue and record.outcome.kind in (*CUT_OFF, *more):
            return record if record.request.keep_best and _reached(trials, record) >= LATE else None
    return None


def rescue_request(record: TrialRecord, trial: int, left: float | None) -> TrialRequest | None:
    """Return a request that delivers the best weights of a training at its checkpoint.

    Args:
        record: The training.
        trial: The number of the new trial.
        left: Seconds that it may take; None for no limit. If they are too few, nothing is returned.
    """
    assert record.checkpoint is not None
    number, carried = record.checkpoint
    request = replace(record.request, trial=trial, resumes=number, carried=carried, rescue=True, grace=None)
    if not request.budget.seconds or left is None:
        return request
    if left < STARTING + (request.evaluation * 2 + request.finalization).seconds:
        return None
    return replace(request, budget=Budget({**request.budget, SECONDS: carried.seconds + left}), grace=0.0)


def _reached(trials: Trials, record: TrialRecord) -> float:
    """Return the progress of the last evaluation that the training's checkpoint knows of."""
    if record.checkpoint is None:
        return 0.0
    number, spent = record.checkpoint
    reports = (*record.reports, *trials[number].reports)
    return max((report.progress for report in reports if report.cost["steps"] <= spent["steps"]), default=0.0)
