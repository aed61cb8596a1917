"""What is said of a run that has nothing to deliver."""

from __future__ import annotations

from pathlib import Path

from autoaccel.core.trial import Outcome
from autoaccel.errors import AutoaccelError, NoTrialError, PreemptedRunError, TaskError
from autoaccel.search.base import Search
from autoaccel.tuner.summary import why_nothing


def plain_fails(run: Path, outcome: Outcome) -> TaskError:
    """Return the error of a run whose plain training fails; the log of the first trial is its cause."""
    error = TaskError(f"plain training fails: {outcome.reason}", outcome.where or None)
    trace = run / "trials" / "0000" / "log.txt"
    error.__cause__ = AutoaccelError(trace.read_text() if trace.exists() else outcome.reason)
    return error


def no_trial(run: Path, search: Search, status: str) -> AutoaccelError:
    """Return the error of a run in which no trial was completed."""
    if status == "preempted":
        return PreemptedRunError(f"asked to end before one trial was complete; {run} can be resumed")
    return NoTrialError(why_nothing(search))
