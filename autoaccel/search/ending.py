"""When a final training is given up, or ends early, and when nothing trains at all."""

from __future__ import annotations

from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.records import TrialRecord
from autoaccel.core.trial import OutcomeKind, Purpose, Report
from autoaccel.search.trials import LadderTrials

CLEARLY_WORSE = 3.0
"""Standard errors by which a final training must be worse to be given up for the next best recipe."""
WORSE = 3
"""Evaluations in a row that have to be clearly worse than the best one for a final training to end early."""
OVERFITTED = 2.0
"""Standard errors by which each of them has to be."""
GIVEN_UP = (OutcomeKind.INFEASIBLE, OutcomeKind.FAILED, OutcomeKind.PRUNED)
"""Ends of a final training after which another recipe has its turn."""
LONGER = 3.0
"""Ratio of lengths from which a final training has to be at least as good as plain was."""


def hopeless(trials: LadderTrials, record: TrialRecord, report: Report) -> bool:
    """Return whether a final training gets no better, and is clearly worse than plain was early in a short one.

    Both are compared before they are annealed, the final one after `LONGER` times as much training. One that
    gets better may have begun with small inputs or a high rate, which says nothing about its end.
    """
    plain, first = trials.plain(0), record.reports[0]
    early = next(iter(plain.reports), None) if plain else None
    if plain is None or early is None or not early.progress < 1.0:
        return False
    had = record.request.budget.share(Cost(plain.request.budget)) * early.progress
    if report.progress < LONGER * had or trials.facts.score(report) < trials.facts.score(first):
        return False
    return trials.facts.clearly_better(early, report, CLEARLY_WORSE)


def overfits(facts: TaskFacts, record: TrialRecord) -> bool:
    """Return whether the last `WORSE` evaluations of a training are all clearly worse than its best one."""
    reports = record.reports
    if len(reports) <= WORSE:
        return False
    best = min(reports, key=facts.score)
    return all(facts.clearly_better(best, later, OVERFITTED) for later in reports[-WORSE:])


def nothing_trains(trials: LadderTrials, record: TrialRecord) -> bool:
    """Return whether a trial that has ended shows that the task is at fault.

    That is so if plain training raises an error, or if it hangs in both forms where no time limit could have ended
    it, and nothing else has trained.
    """
    if record.purpose is not Purpose.BASELINE or record.outcome is None:
        return False
    ended = [other for other in trials.baselines() if other.outcome and not other.unfinished]
    plain = [other for other in ended if other.request.recipe == PLAIN["plain"]]
    if plain[:1] == [record] and record.outcome.kind is OutcomeKind.FAILED:
        return True
    kinds = [other.outcome.kind for other in ended if other.outcome]
    hangs = len(kinds) >= len(PLAIN) and set(kinds) == {OutcomeKind.TIMED_OUT}
    return hangs and not record.request.budget.seconds and not any(other.final for other in trials.records)
