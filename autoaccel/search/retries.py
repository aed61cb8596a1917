"""Trials that are tried again: a process that dies says nothing of the recipe that it was training."""

from __future__ import annotations

from collections.abc import Iterator

from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import OutcomeKind, Purpose

RETRIES = 2
"""How often a trial is tried again after its process has died, or its run was killed."""
OF_THE_SEARCH = (Purpose.BASELINE, Purpose.SEARCH)


def waiting(trials: Trials, *purposes: Purpose) -> Iterator[TrialRecord]:
    """Yield the unfinished trials with one of the purposes that are to be tried again, the oldest first."""
    for record in (record for record in trials.unfinished() if record.purpose in purposes):
        tried_again = any(other.number > record.number and _alike(other, record) for other in trials)
        if not tried_again and not given_up(trials, record):
            yield record


def given_up(trials: Trials, record: TrialRecord) -> bool:
    """Return whether an unfinished trial is not tried again.

    One of the search has `RETRIES` more tries. A longer training goes on for as long as it gets further: it is
    given up when it has died more often without a newer checkpoint. That the whole run was killed does not count.
    Neither does a try that cost nothing: it was decided on and never started.
    """
    ran = [other for other in trials.unfinished() if other.outcome and other.outcome.cost]
    tries = [other for other in ran if other.number <= record.number and _alike(other, record)]
    if record.purpose not in OF_THE_SEARCH:
        died = [other for other in tries if other.outcome and other.outcome.kind is OutcomeKind.LOST]
        tries = [other for other in died if other.checkpoint == record.checkpoint]
    return len(tries) > RETRIES


def _alike(one: TrialRecord, other: TrialRecord) -> bool:
    """Return whether two trials are of the same training; the budget of a final one is what was left for it."""
    mine, theirs = one.request, other.request
    as_long = mine.purpose is Purpose.FINAL or mine.budget == theirs.budget
    return as_long and (mine.purpose, mine.recipe, mine.seed) == (theirs.purpose, theirs.recipe, theirs.seed)
