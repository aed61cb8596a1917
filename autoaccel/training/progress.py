"""Progress: the share of what a trial may spend on training that it has spent.

Set-up is charged to the trial but not part of progress, and what the evaluations will need is set aside first,
so that p = 1 leaves just enough to judge and save the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoaccel.budget import Budget, Cost


@dataclass
class Progress:
    """Progress towards a budget.

    Args:
        budget: All limits of the trial, epochs resolved.
        setup: Spent before the first step.
        evaluation: Expected cost of one evaluation, until one was measured.
        evaluations: How many are planned, the last one included.
        landing: Set aside for saving and ending the trial.
    """

    budget: Budget
    setup: Cost
    evaluation: Cost
    evaluations: int
    landing: Cost
    evaluated: Cost = Cost()  # noqa: RUF009 - a frozen value
    p: float = 0.0

    def __post_init__(self) -> None:
        self._limits = list(self.budget.limits().items())
        self._used = dict.fromkeys(self.budget.limits(), 0.0)

    def read(self, spent: Cost) -> float:
        """Progress in [0, 1] now that `spent` is spent; it never falls.

        It is called once a step, and is 1 as soon as another step like the last one would not fit.
        """
        for name, limit in self._limits:
            overhead = getattr(self.setup, name) + getattr(self.evaluated, name)
            ahead = getattr(self.landing, name) + self.evaluations * getattr(self.evaluation, name)
            allowed = limit - overhead - ahead if name in ("seconds", "flops") else limit
            used = getattr(spent, name) - overhead
            step, self._used[name] = used - self._used[name], used
            fits = used + step <= allowed
            self.p = max(self.p, min(1.0, used / allowed) if fits and allowed > 0 else 1.0)
        return self.p

    def book_evaluation(self, cost: Cost) -> None:
        """Learn from an evaluation that was made."""
        self.evaluated = self.evaluated + Cost(seconds=cost.seconds, flops=cost.flops)
        self.evaluations -= 1
        self.evaluation = cost
