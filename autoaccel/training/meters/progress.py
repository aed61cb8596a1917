"""Progress: the share of what a trial may spend on training that it has spent.

Set-up is charged to the trial but not part of progress, and what the evaluations will need is set aside first,
so that p = 1 leaves just enough to judge and save the result.

A training that is asked to finish early hurries: the progress that remains is walked through faster. Schedules
see nothing but progress, so each of them, the decay of the learning rate first of all, still arrives at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from autoaccel.core.budget import Budget, Cost
from autoaccel.core.trial import COOLDOWN


@dataclass
class Progress:
    """Progress towards a budget.

    Args:
        budget: All limits of the trial, epochs resolved.
        setup: Spent before the first step.
        evaluation: Expected cost of one evaluation; raised where one turns out to cost more.
        evaluations: How many are planned, the last one included.
        finalization: Set aside for saving and ending the trial.
        finishing: Asked at every reading whether the training is to hurry to its end.

    Attributes:
        timed: Whether it depends on the clock or on being asked, which no two processes see at the same step.
    """

    timed: ClassVar[bool] = True
    budget: Budget
    setup: Cost
    evaluation: Cost
    evaluations: int
    finalization: Cost
    finishing: Callable[[], bool] = lambda: False
    evaluated: Cost = Cost()  # noqa: RUF009 - a frozen value
    p: float = 0.0

    def __post_init__(self) -> None:
        self._limits = list(self.budget.limits().items())
        self._used = dict.fromkeys(self.budget.limits(), 0.0)
        # Progress is a straight line in each unit: from `since`, when `begun` was used, to 1, when all is.
        self._since, self._begun, self._share = 0.0, dict(self._used), float("inf")

    def read(self, spent: Cost) -> float:
        """Progress in [0, 1] now that `spent` is spent; it never falls.

        It is called once a step, and is 1 as soon as another step like the last one would not fit.
        """
        for name, limit in self._limits:
            overhead = getattr(self.setup, name) + getattr(self.evaluated, name)
            ahead = getattr(self.finalization, name) + self.evaluations * getattr(self.evaluation, name)
            allowed = limit - overhead - ahead if name in ("seconds", "flops") else limit
            used = getattr(spent, name) - overhead
            step, self._used[name] = used - self._used[name], used
            self.p = max(self.p, self._on_line(name, used, step, allowed))
        if self.p < 1 and self.finishing():
            self.finish_early()
            if not spent.steps:  # nothing was learned yet, so there is nothing to anneal
                self.p = 1.0
        return self.p

    def _on_line(self, name: str, used: float, step: float, allowed: float) -> float:
        begun = self._begun[name]
        end = min(allowed, begun + self._share * begun) if self.finishing_early else allowed
        if used + step > end or end <= begun:
            return 1.0
        return self._since + (1 - self._since) * (used - begun) / (end - begun)

    @property
    def finishing_early(self) -> bool:
        """Whether it was asked to finish early."""
        return self._share < float("inf")

    def finish_early(self, share: float = COOLDOWN) -> None:
        """Walk through the progress that remains, 1 - p, within a share of what was used until now.

        p goes on from where it is, and is 1 when that much more was used of any limit of the budget, or when the
        budget is over, whichever comes first. Asking again changes nothing.

        Args:
            share: Of the seconds, FLOPs, steps and samples used for training until now; > 0.
        """
        if not self.finishing_early:
            self._since, self._begun, self._share = self.p, dict(self._used), share

    def book_evaluation(self, cost: Cost) -> None:
        """Learn from an evaluation that was made."""
        self.evaluated = self.evaluated + Cost(seconds=cost.seconds, flops=cost.flops)
        self.evaluations -= 1
        # Not lowered: an early one may lack what later ones bring, such as an average to measure statistics for.
        self.evaluation = Cost(
            seconds=max(cost.seconds, self.evaluation.seconds), flops=max(cost.flops, self.evaluation.flops)
        )
