"""How much of a budget a run has used, and will have used once a trial has ended; and which trials still fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import SECONDS
from autoaccel.core.recipe import Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.core.trial import Purpose
from autoaccel.search.plan import Plan
from autoaccel.search.trials import LadderTrials

OVERRUN = 0.02
"""Share of its length by which a trial beside others may be late. All of them are stopped for the final training,
and one that is stopped just before its end was for nothing."""
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Used:
    """Shares of the budget that a run has used.

    Args:
        spent: Until now.
        running: What the running trials will use yet.
        at_once: Whether parallel trials use the same seconds; else what they use adds up.
    """

    spent: float
    running: float
    at_once: bool

    @classmethod
    def of(cls, budget: Budget, ladder: LadderTrials, now: float, *without: Purpose) -> Used:
        """Return what the trials of a run have used of its budget; running ones `without` are left out."""
        spent = budget.share(ladder.records.run_cost(now))
        return cls(spent, ladder.running_length(budget, now, *without), set(budget) == {SECONDS})

    def after(self, cost: float) -> float:
        """Return what share will be used once a trial that costs a share has ended, and those that run."""
        return self.spent + (max(self.running, cost) if self.at_once else self.running + cost)


@dataclass(frozen=True)
class Room:
    """What is left for trials of the search.

    Args:
        plan: The plan of the run.
        ladder: The trials of the run.
        used: What has been used of the budget.
        first: The recipe that would be trained in the end.
        settled: Whether that has been trained as long already.
    """

    plan: Plan
    ladder: LadderTrials
    used: Used
    first: Recipe | None
    settled: bool

    def fits(self, rung: int, parent: TrialRecord | None = None) -> bool:
        """Return whether a trial on a rung ends within the search's share and leaves enough to train in the end."""
        plan = self.plan
        if rung > plan.top:  # longer trainings were found to be of no use meanwhile
            return False
        cost = plan.cost_to(rung, self.ladder.rung(parent) if parent else None)
        ends = self.used.after(cost * (1 + OVERRUN) if plan.at_once > 1 else cost)
        # A trial of the recipe that would be trained in the end, as long as that, takes its place.
        is_final = rung == plan.top and parent is not None and parent.request.recipe == self.first
        final = 0.0 if (is_final and not plan.shares_final) or self.settled else plan.ladder[-1]
        kept = plan.budget.share(plan.kept)
        return ends <= plan.search_share + TOLERANCE and ends + final + kept <= 1 + TOLERANCE

    def until_what_runs_has_ended(self, why: str = "") -> Room:
        """Return what is left if the search is over once all that runs now has ended; `why` is for display."""
        share = min(self.plan.search_share, self.used.spent + self.used.running * (1 + OVERRUN))
        return replace(self, plan=replace(self.plan, search_share=share, ended=why or self.plan.ended))

    @property
    def ends_at(self) -> float:
        """Seconds into the run at which the search has to be over, whatever is still running beside other trials.

        A trial as long as the final training may take its place, and so may run into the time that is kept for it.
        Infinity for one trial at a time, and where what trials spend adds up: the plan counts on each of them.
        """
        seconds = self.plan.budget.seconds
        if not seconds or self.plan.at_once == 1:
            return math.inf
        longest = any(self.ladder.rung(record) >= self.plan.top for record in self.ladder.records.running())
        final = 0.0 if (longest and not self.plan.shares_final) or self.settled else self.plan.ladder[-1]
        return seconds * min(self.plan.search_share, 1 - final - self.plan.budget.share(self.plan.kept))
