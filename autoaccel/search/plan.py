"""Split a budget into the ladder of trial budgets, the search's share, the final training and the reserve.

All trial budgets are shares of the whole, so the same plan works for seconds, FLOPs, or both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import REPRODUCIBLE, Cost, format_seconds
from autoaccel.core.recipe import PLAIN
from autoaccel.errors import UsageError, suggestion

ETA = 3
"""A rung's budget is this many times that of the rung below, and one in this many recipes is promoted to it."""
WIDTH = 2
"""Recipes of a bracket on the top rung, in addition to the plain one."""
WIDTHS_ALONE = (6, 4, 3, 2)
"""Widths to try, in this order, if there is only one rung."""
SEARCH_SHARE = 0.35
"""Share of the budget for the search. While the loss still falls with budget, more than about a third takes away
what the final training would gain."""
PLATEAUED_SHARE = 0.45
"""Share for the search once the metric no longer improves with budget. It is only a little larger, because the best
of many equal recipes is merely the luckiest."""
MOST_RUNGS = 4
FEWEST_STEPS = 30
FEWEST_STEPS_BELOW = 300
"""Fewest steps on the lowest of three or four rungs: shorter trials favor recipes that start fast."""
SETUPS = 4
"""The smallest trial budget covers this many set-ups, so that set-up does not dominate a trial."""
PLAIN_BATCH = 64
EVALUATION_SHARE = 0.04
LEAST_VALID = 256


@dataclass(frozen=True)
class Plan:
    """The split of a run's budget.

    Args:
        budget: The budget of the run.
        facts: The facts from the profile.
        ladder: Trial budgets as shares of the whole, ascending; empty if only a final training fits.
        search_share: Share of the whole after which no new search trial starts; includes what came before.
        reserve: Seconds reserved after the final training for the report and the last files.
        workers: Number of parallel trials.
        valid_samples: Validation samples that search trials use; 0 for all.
        width: Recipes of a bracket on the top rung, in addition to the plain one.
        alone: Origin of the recipe that is trained if no search fits, for display.
        again: Why the plan was made again, for display; empty for the first plan.
    """

    budget: Budget
    facts: TaskFacts
    ladder: tuple[float, ...]
    search_share: float
    reserve: float
    workers: int = 1
    valid_samples: int = 0
    width: int = 2
    alone: str = "plain"
    again: str = ""

    def quota(self, rung: int) -> int:
        """Return how many recipes of a bracket reach a rung."""
        return self.width * int(ETA ** (len(self.ladder) - 1 - rung))

    def trial_budget(self, rung: int) -> Budget:
        """Return the budget of a trial on a rung."""
        return self.budget * self.ladder[rung]

    def expected_seconds(self, budget: Budget) -> float:
        """Return how long a budget is expected to last; infinity if unknown. Limits in seconds are exact."""
        if budget.seconds is not None:
            return budget.seconds
        train = self.facts.train
        return min(
            (limit / train[n] * train.seconds for n, limit in budget.items() if train[n] > 0), default=math.inf
        )

    def plateaued(self) -> Plan:
        """Return the plan for a task whose metric no longer improves with budget: search longer."""
        return replace(self, search_share=max(self.search_share, PLATEAUED_SHARE))

    def describe(self) -> list[str]:
        """Return the plan for display, one decision per line."""
        lines = [*([self.again] if self.again else []), f"budget: {self.budget}, everything included"]
        if not self.ladder:
            nothing = f"search: none fits; {self.alone} is trained with the whole budget"
            return [*lines, nothing, self._expected(1)]
        rungs = ", ".join(f"{self.quota(i)} x {self.trial_budget(i)}" for i in range(len(self.ladder)))
        again = ", the better again on the top rung" if len(self.ladder) > 1 else ""
        more = (
            f" ({PLATEAUED_SHARE:.0%} if the metric stops improving)" if self.search_share < PLATEAUED_SHARE else ""
        )
        trials = sum(self.quota(i) for i in range(len(self.ladder)))
        return [
            *lines,
            f"baselines: plain in two forms{again} ({_baselines(self.ladder):.0%} of the budget)",
            f"search: {rungs}; no new trial after {self.search_share:.0%} of the budget{more}",
            f"final training: the best recipe with about {1 - self.search_share:.0%} of the budget",
            f"reserve: {self.reserve:.1f} s for the report and the last files",
            self._expected(trials + len(PLAIN) + (1 if again else 0) + 1),
        ]

    def _expected(self, trials: int) -> str:
        seconds = self.expected_seconds(self.budget)
        end = f", the end {format_seconds(seconds)} after the start" if math.isfinite(seconds) else ""
        return f"expected: about {trials} trials{end}"


def make_plan(budget: Budget, facts: TaskFacts, spent: Cost, workers: int, reserve: float) -> Plan:
    """Split what is left of a budget after the profile.

    Args:
        budget: The budget of the run.
        facts: The facts from the profile.
        spent: Cost of start-up and the profile.
        workers: Number of parallel trials.
        reserve: Seconds to reserve for the end.

    Raises:
        UsageError: If no meter measures what the budget is in, or it is too small to train anything; says how much
            is needed.
    """
    if unmeasured := [name for name in budget if name not in facts.train and facts.train]:
        hint = suggestion(unmeasured[0], facts.train)
        raise UsageError(f"a budget of {budget}: no meter measures that, only {', '.join(facts.train)}{hint}")
    least = _least(budget, facts, FEWEST_STEPS)
    reserve = reserve if budget.seconds else 0.0
    left = 1 - budget.share(spent) - budget.share(Cost(seconds=reserve))
    if left < least:
        needed = budget * ((1 - left + least) * 1.1)
        raise UsageError(f"a budget of {budget} is too small to train anything; at least {needed} is needed")
    ladder, width = _ladder(left * SEARCH_SHARE, least, _least(budget, facts, FEWEST_STEPS_BELOW))
    return Plan(
        budget=budget,
        facts=facts,
        ladder=ladder,
        search_share=1 - left + left * SEARCH_SHARE if ladder else 0.0,
        reserve=reserve,
        workers=workers,
        valid_samples=_valid_samples(budget * ladder[0], facts) if ladder else 0,
        width=width,
    )


def _least(budget: Budget, facts: TaskFacts, steps: int) -> float:
    """Return the smallest share of the budget that covers set-up, `steps` plain steps and two evaluations."""
    batch, trainings = facts.in_batch(PLAIN_BATCH), max(1, facts.folds)
    evaluated = 2 * min(1.0, LEAST_VALID / facts.n_valid)
    training = facts.setup * SETUPS + facts.train * (steps * batch) + facts.evaluation * evaluated
    return budget.share(training * trainings)


def _ladder(share: float, least: float, least_below: float) -> tuple[tuple[float, ...], int]:
    """Return the tallest ladder whose first rung trains long enough, and its width; empty if none does."""
    shapes = [*((rungs, WIDTH) for rungs in range(MOST_RUNGS, 1, -1)), *((1, width) for width in WIDTHS_ALONE)]
    for rungs, width in shapes:
        unit = tuple(float(ETA) ** (i + 1 - rungs) for i in range(rungs))  # with a top rung of 1
        # Each rung of a bracket costs as much as the top rung.
        top = share / (rungs * width + _baselines(unit))
        if top * unit[0] >= (least_below if rungs > 2 else least):
            return tuple(top * rung for rung in unit), width
    return (), WIDTH


def _baselines(ladder: Sequence[float]) -> float:
    """Return the share of the plain recipes: both on the first rung, the better again on any higher top rung."""
    return len(PLAIN) * ladder[0] + (ladder[-1] if len(ladder) > 1 else 0.0)


def _valid_samples(smallest: Budget, facts: TaskFacts) -> int:
    # Use measured quantities only if no limit is independent of the machine.
    counted = Budget({name: limit for name, limit in smallest.items() if name in REPRODUCIBLE}) or smallest
    share = counted.share(facts.evaluation)
    if share <= EVALUATION_SHARE:
        return 0
    samples = max(LEAST_VALID, int(facts.n_valid * EVALUATION_SHARE / share))
    return samples if samples < facts.n_valid else 0
