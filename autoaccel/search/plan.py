"""How a budget is split: the ladder of trial budgets, the share of the search, the final training, the reserve.

All trial budgets are shares of the whole, so the same plan serves seconds, FLOPs, or both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoaccel.core.budget import Budget, Cost, format_amount, format_seconds
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import TaskFacts
from autoaccel.errors import UsageError

ETA = 3
"""A rung's budget is this many times the one below, and one in this many recipes gets there."""
WIDTH = 2
"""Recipes on the top rung of a bracket, beside the plain one."""
WIDTHS_ALONE = (6, 4, 3, 2)
"""The same where the top rung is the only one; as many as fit."""
SEARCH_SHARE = 0.35
"""Where the loss still falls with budget, more than about a third eats what the final training gains."""
PLATEAUED_SHARE = 0.45
"""Where it does not, more of it may be searched; not much more, since a choice among many is a choice of noise."""
MOST_RUNGS = 4
FEWEST_STEPS = 30
FEWEST_STEPS_BELOW = 300
"""On a third or fourth rung from the top: in a race of fewer steps wins what starts fast, not what ends well."""
EVALUATION_SHARE = 0.04
LEAST_VALID = 256


@dataclass(frozen=True)
class Plan:
    """The split of one run's budget.

    Args:
        budget: The whole.
        facts: What the profile found.
        ladder: Budgets of trials as shares of the whole, ascending; empty when only a final training fits.
        search_share: Share of the whole after which no new search trial starts.
        reserve: Seconds kept after the final training for the report and the last files.
        workers: Trials side by side.
        valid_samples: Validation samples used by search trials; 0 for all.
        width: Recipes that a bracket has on the top rung, beside the plain one.
    """

    budget: Budget
    facts: TaskFacts
    ladder: tuple[float, ...]
    search_share: float
    reserve: float
    workers: int = 1
    valid_samples: int = 0
    width: int = 2

    def quota(self, rung: int) -> int:
        """How many recipes of a bracket reach a rung."""
        return self.width * int(ETA ** (len(self.ladder) - 1 - rung))

    def trial_budget(self, rung: int) -> Budget:
        """The budget of a trial on a rung."""
        return self.budget * self.ladder[rung]

    def evaluation(self, samples: int) -> Cost:
        """The expected cost of an evaluation with `samples` validation samples; 0 for all."""
        share = samples / self.facts.n_valid if samples else 1.0
        return Cost(seconds=self.facts.valid_seconds * share, flops=self.facts.valid_flops * share)

    def finalization(self, test: bool) -> Cost:
        """The expected cost of what follows the last evaluation of a trial."""
        share = 1.1 * self.facts.n_test / self.facts.n_valid if test else 0.0
        return self.evaluation(0) * share + Cost(seconds=0.02)

    def expected_seconds(self, budget: Budget) -> float:
        """How long a budget is expected to last; a limit in seconds is taken at its word."""
        if budget.seconds is not None:
            return budget.seconds
        return (budget.flops or 0.0) * self.facts.train_seconds / max(1.0, self.facts.train_flops)

    def plateaued(self) -> Plan:
        """The plan for a task whose metric no longer improves with budget: search more."""
        return replace(self, search_share=max(self.search_share, PLATEAUED_SHARE))

    def describe(self) -> list[str]:
        """The plan for people, a decision a line."""
        lines = [f"budget: {self.budget}, everything included"]
        if not self.ladder:
            nothing = "search: none fits; the plain recipe is trained with the whole budget"
            return [*lines, nothing, self._expected(1)]
        rungs = ", ".join(f"{self.quota(i)} x {_amount(self.trial_budget(i))}" for i in range(len(self.ladder)))
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
        return f"expected: about {trials} trials, the end {format_seconds(seconds)} after the start"


def make_plan(budget: Budget, facts: TaskFacts, spent: Cost, workers: int, reserve: float) -> Plan:
    """Split what is left of a budget after the profile.

    Args:
        budget: The whole.
        facts: What the profile found.
        spent: What the start and the profile have taken.
        workers: Trials side by side.
        reserve: Seconds to keep for the end.

    Raises:
        UsageError: If the budget is too small to train anything; says how much is needed.
    """
    least = _least(budget, facts, FEWEST_STEPS)
    left = 1 - budget.share(spent) - (reserve / budget.seconds if budget.seconds else 0.0)
    if left < least:
        needed = budget * ((1 - left + least) * 1.1)
        raise UsageError(f"a budget of {budget} is too small to train anything; at least {needed} is needed")
    ladder, width = _ladder(left * SEARCH_SHARE, least, _least(budget, facts, FEWEST_STEPS_BELOW))
    return Plan(
        budget=budget,
        facts=facts,
        ladder=ladder,
        search_share=1 - left + left * SEARCH_SHARE if ladder else 0.0,
        reserve=reserve if budget.seconds else 0.0,
        workers=workers,
        valid_samples=_valid_samples(budget * ladder[0], facts) if ladder else 0,
        width=width,
    )


def _least(budget: Budget, facts: TaskFacts, steps: int) -> float:
    """The smallest share of the budget that trains so many plain steps and evaluates."""
    batch = min(64, facts.n_train)
    evaluated = 2 * min(1.0, LEAST_VALID / facts.n_valid)
    seconds = 4 * facts.setup_seconds + steps * batch * facts.train_seconds + evaluated * facts.valid_seconds
    flops = steps * batch * facts.train_flops + evaluated * facts.valid_flops
    return max(seconds / budget.seconds if budget.seconds else 0.0, flops / budget.flops if budget.flops else 0.0)


def _ladder(share: float, least: float, least_below: float) -> tuple[tuple[float, ...], int]:
    """The tallest ladder whose first rung still trains enough, and its width; empty when none does."""
    shapes = [*((rungs, WIDTH) for rungs in range(MOST_RUNGS, 1, -1)), *((1, width) for width in WIDTHS_ALONE)]
    for rungs, width in shapes:
        unit = tuple(float(ETA) ** (i + 1 - rungs) for i in range(rungs))  # with a top rung of 1
        # Each rung of a bracket costs as much as its recipes on the top rung.
        top = share / (rungs * width + _baselines(unit))
        if top * unit[0] >= (least_below if rungs > 2 else least):
            return tuple(top * rung for rung in unit), width
    return (), WIDTH


def _baselines(ladder: Sequence[float]) -> float:
    """The share of the plain recipes: both on the first rung, the better again on the top one if it is another."""
    return len(PLAIN) * ladder[0] + (ladder[-1] if len(ladder) > 1 else 0.0)


def _valid_samples(smallest: Budget, facts: TaskFacts) -> int:
    share = max(
        facts.valid_seconds / smallest.seconds if smallest.seconds and not smallest.flops else 0.0,
        facts.valid_flops / smallest.flops if smallest.flops else 0.0,
    )
    if share <= EVALUATION_SHARE:
        return 0
    samples = max(LEAST_VALID, int(facts.n_valid * EVALUATION_SHARE / share))
    return samples if samples < facts.n_valid else 0


def _amount(budget: Budget) -> str:
    return " or ".join(format_amount(name, limit) for name, limit in budget.limits().items())
