"""Which of the trained models is delivered."""

from __future__ import annotations

import math
from collections.abc import Iterable

from autoaccel.core.facts import TaskFacts
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.search.base import Comparison
from autoaccel.search.limits import Limits
from autoaccel.search.trials import LadderTrials

CLEARLY = 0.6
"""Standard errors by which a search trial must beat the final training to be delivered instead. They are those of
independent samples, and both models are scored on the same ones, where differences vary less than half as much."""


def delivered(final: TrialRecord | None, best: TrialRecord | None, limits: Limits) -> TrialRecord | None:
    """Return the final training, unless a search trial is better by `CLEARLY` standard errors.

    What has reached the target comes first, and nothing that breaks a constraint comes before what breaks it less.

    Args:
        final: The complete final training, if there is one.
        best: The best trial of the search.
        limits: What the trials have shown of the goal, which may be none.
    """
    chosen = best if final is None or (best and _clearly_better(best, final, limits.facts)) else final
    if reaching := limits.reaching():
        return reaching
    return limits.safest() or chosen if chosen is None or limits.broken(chosen) else chosen


def compared(trials: LadderTrials, trusted: Iterable[Recipe]) -> Comparison | None:
    """Compare the recipe that is trusted most with the better plain one, on the highest rung with both.

    Args:
        trials: The trials of the run.
        trusted: The recipes that were tried, best first.
    """
    longest = trials.longest()  # one that is trusted may have been pruned
    # No plain training is as long as one with larger batches than in the search, and has batches like it.
    complete = {recipe for recipe, record in longest.items() if record.request.larger == 1}
    best = next((recipe for recipe in trusted if recipe in complete and recipe not in PLAIN.values()), None)
    for winner in trials.ranked(baseline=False):
        if best not in (None, winner.request.recipe):
            continue
        # Where a ladder was replaced, trials of other budgets are on the same rung.
        plain = (other for other in trials.on(trials.rung(winner), baseline=True) if _equal(other, winner))
        if found := next(plain, None):
            return Comparison(found.request.budget, winner, found)
    return None


def _equal(one: TrialRecord, other: TrialRecord) -> bool:
    return math.isclose(one.request.budget.size, other.request.budget.size, rel_tol=1e-6)


def _clearly_better(one: TrialRecord, other: TrialRecord, facts: TaskFacts) -> bool:
    # The best of many noisy values is too optimistic, so require a clear margin.
    assert one.final and other.final
    if facts.folds:  # a mean over folds and the score of one model are not about the same samples
        return False
    return facts.clearly_better(one.final, other.final, CLEARLY)
