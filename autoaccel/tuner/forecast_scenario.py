"""The run that a forecast simulates: a search with its arguments, and what of it can be afforded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import FLOPS, SECONDS
from autoaccel.errors import UsageError
from autoaccel.search.base import Findings, Proposal, Sampler, SearchSettings
from autoaccel.search.plan import Plan, make_plan
from autoaccel.search.samplers import find_sampler
from autoaccel.search.searches import SearchFactory
from autoaccel.spaces.space import SearchSpace

MOST_TRIALS = 60
"""Most trials of a simulated run: more of them change the outcome little, and take minutes to decide on."""


@dataclass(frozen=True)
class Scenario:
    """The run that is simulated.

    Args:
        search: Makes the search.
        settings: Its arguments, with the budget that was asked for.
        facts: The facts of the task.
        workers: Number of parallel trials.
        spent: Seconds that start-up and the profile take.
        reserve: From a budget to the seconds that a run reserves for its end.
    """

    search: SearchFactory
    settings: SearchSettings
    facts: TaskFacts
    workers: int
    spent: float
    reserve: Callable[[Budget], float]
    _drawn: list[Proposal] = field(default_factory=list, repr=False)

    def drawn(self, space: SearchSpace, seed: int) -> Sampler:
        """Return a sampler of the known-good recipes and random ones, the same for all simulated runs.

        The model's proposals and drawing anew would take most of the time.
        """
        return _Repeated(self._drawn, find_sampler("random")(space, self.settings.seed))

    @cached_property
    def final(self) -> float:
        """The length of the final training, as a share of the budget that was asked for."""
        plan = self.plan(self.settings.budget, self.workers)
        return plan.ladder[-1] if plan.ladder else min(1.0, plan.longest)

    def plan(self, budget: Budget, workers: int) -> Plan:
        """Return the plan for a budget."""
        spent = self.facts.profile.replace(seconds=self.spent)
        return make_plan(budget, self.facts, spent, workers, self.reserve(budget), self.settings.longest)


class _Repeated:
    """A sampler that proposes what `drawn` holds, and adds to it when that is used up."""

    def __init__(self, drawn: list[Proposal], source: Sampler):
        self._drawn, self._source, self._next = drawn, source, 0

    def propose(self, findings: Findings) -> Proposal | None:
        while self._next >= len(self._drawn):
            found = self._source.propose(findings)
            if found is None:
                return None
            if found not in self._drawn:
                self._drawn.append(found)
        self._next += 1
        return self._drawn[self._next - 1]

    def tell(self, proposal: Proposal, value: float | None) -> None:
        """Learn nothing: random recipes do not depend on results."""


def binding(budget: Budget, facts: TaskFacts) -> Budget:
    """Return the limit of a budget that is expected to be reached first.

    Raises:
        UsageError: If that is neither of seconds nor of FLOPs.
    """
    speed = {SECONDS: 1.0, FLOPS: facts.train[FLOPS] / facts.train.seconds if facts.train.seconds else 0.0}
    if unknown := [name for name in budget if not speed.get(name)]:
        raise UsageError(f"a budget of {budget}: {unknown[0]} cannot be simulated, only seconds and FLOPs can")
    first = min(budget, key=lambda name: budget[name] / speed[name])
    return Budget({first: budget[first]})


def affordable(scenario: Scenario, budget: Budget) -> tuple[Budget, int, float]:
    """Return the budget and the workers to simulate, and which share of the trials that is."""
    workers = scenario.workers
    plan = scenario.plan(budget, workers)
    if not plan.ladder:
        return budget, workers, 1.0
    trials = plan.search_share / (plan.ladder[0] * max(1, plan.top))  # of one worker
    fewer = max(1, min(workers, int(MOST_TRIALS / trials)))
    share = 1.0
    if plan.longest < math.inf:  # else less budget means shorter trials, not fewer
        share = max(min(1.0, MOST_TRIALS / (trials * fewer)), min(1.0, 4 * plan.ladder[-1]))
    return budget * share, fewer, share * fewer / workers
