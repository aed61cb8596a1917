"""Progress: the share of a trial's budget for training that is spent.

Set-up is charged to the trial but is not part of progress. The expected cost of the evaluations and the
finalization is reserved first, so that p = 1 leaves just enough to evaluate and save the result.

A training that is asked to finish early moves through its remaining progress faster. Schedules depend only on
progress, so each of them, above all the learning rate decay, still reaches its end.

Whether another step fits is judged by what steps usually take. A first step that compiles, or one during which the
machine was busy, costs time once; it must not end a training whose schedules are far from their end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median_low
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import COUNTS, REPRODUCIBLE, Cost
from autoaccel.core.trial import COOLDOWN, SLOWER

RECENT = 9
"""Steps whose median says what the next one takes."""


@dataclass
class Progress:
    """Progress through a budget.

    Args:
        budget: All limits of the trial, with epochs resolved.
        setup: Cost before the first step.
        evaluation: Expected cost of one evaluation; raised if one costs more.
        evaluations: Number of evaluations planned, including the last one.
        finalization: Cost reserved for saving and ending the trial.
        step: Expected cost of a step, used while only the first one is known; empty if unknown.
        finishing: Called at every reading; returns whether the training was asked to finish early.
    """

    budget: Budget
    setup: Cost
    evaluation: Cost
    evaluations: int
    finalization: Cost
    step: Cost = Cost()  # noqa: RUF009 - a frozen value
    finishing: Callable[[], bool] = lambda: False
    evaluated: Cost = Cost()  # noqa: RUF009 - a frozen value
    p: float = 0.0

    def __post_init__(self) -> None:
        self._limits = list(self.budget.items())
        self._used = dict.fromkeys(self.budget, 0.0)
        self._recent: dict[str, deque[float]] = {name: deque(maxlen=RECENT) for name in self.budget}
        self._started = self._known = False
        # Progress is linear in each quantity: from `_since`, where `_begun` was used, to 1, where all is used.
        self._since, self._begun, self._share = 0.0, dict(self._used), float("inf")

    def read(self, spent: Cost) -> float:
        """Return progress in [0, 1] after spending `spent`; it never decreases.

        Call it before each step. It returns 1 as soon as another step would not fit.
        """
        if self._known:  # it was read before the state was kept
            self._known = False
            return self.p
        for name, limit in self._limits:
            overhead = self.setup[name] + self.evaluated[name]
            allowed = limit - overhead - self.finalization[name] - self.evaluations * self.evaluation[name]
            used = spent[name] - overhead
            last, self._used[name] = used - self._used[name], used
            step = self._next_step(name, last) if self._started else 0.0
            self.p = max(self.p, self._on_line(name, used, step, allowed))
        self._started = True
        if self.p < 1 and self.finishing():
            self.finish_early()
            if not spent.steps:  # no training yet, so there is nothing to anneal
                self.p = 1.0
        return self.p

    def state_dict(self) -> dict[str, Any]:
        """Return what it needs to go on in another process, as plain data."""
        costs = {"setup": self.setup, "evaluation": self.evaluation, "evaluated": self.evaluated}
        return {
            **{name: dict(cost) for name, cost in costs.items()},
            "budget": dict(self.budget),
            "evaluations": self.evaluations,
            "p": self.p,
            "used": dict(self._used),
            "recent": {name: list(recent) for name, recent in self._recent.items()},
            "since": self._since,
            "begun": dict(self._begun),
        }

    def load_state_dict(self, state: Mapping[str, Any], spent: Cost) -> None:
        """Go on with a training, from the progress that it had.

        If all is as it was, progress goes on to the last digit as it would have. Otherwise what is left of it takes
        what is left of the budget, without the set-up of this process.

        Args:
            state: What `state_dict` returned.
            spent: What the training has spent until now.
        """
        self.setup, self.evaluation = Cost(state["setup"]), Cost(state["evaluation"])
        self.evaluated, self.evaluations = Cost(state["evaluated"]), state["evaluations"]
        self.p, self._used = state["p"], dict(state["used"])
        self._started = self._known = True
        for name, recent in state["recent"].items():
            self._recent[name].extend(recent)
        overhead = self.setup + self.evaluated
        used = {name: spent[name] - overhead[name] for name in self.budget}
        if self.budget.deterministic and dict(self.budget) == state["budget"] and used == self._used:
            self._since, self._begun = state["since"], dict(state["begun"])
            return
        again = {name: used[name] - self._used[name] for name in used if name not in REPRODUCIBLE}
        self.setup = self.setup + Cost(again)
        self._since, self._begun = self.p, {name: used[name] - again.get(name, 0.0) for name in used}
        self._used = dict(self._begun)

    def _next_step(self, name: str, last: float) -> float:
        """Return what the next step is expected to cost; `last` is the cost of the last one."""
        if name in REPRODUCIBLE:  # nothing disturbs it, so the last step is the best guess
            return last
        recent = self._recent[name]
        recent.append(last)
        # The first step may include all kinds of set-up. If nothing else is known, the second step shows it.
        return min(last, SLOWER * self.step[name]) if len(recent) == 1 else median_low(recent)

    def _on_line(self, name: str, used: float, step: float, allowed: float) -> float:
        begun = self._begun[name]
        # A coarse meter may not have moved yet: then it says nothing about how soon to finish.
        early = self.finishing_early and begun > 0
        end = min(allowed, begun + self._share * begun) if early else allowed
        if used + step > end or end <= begun:
            return 1.0
        return self._since + (1 - self._since) * (used - begun) / (end - begun)

    @property
    def finishing_early(self) -> bool:
        """Whether it was asked to finish early."""
        return self._share < float("inf")

    def finish_early(self, share: float = COOLDOWN) -> None:
        """Go through the remaining progress, 1 - p, within a share of what was used so far.

        p continues from its current value and reaches 1 when that much more was used of any limited quantity, or at
        the end of the budget, whichever comes first. Further calls have no effect.

        Args:
            share: Share of the seconds, FLOPs, steps and samples used for training so far; > 0.
        """
        if not self.finishing_early:
            self._since, self._begun, self._share = self.p, dict(self._used), share

    def book_evaluation(self, cost: Cost) -> None:
        """Record the cost of an evaluation that was made."""
        cost = cost.without(COUNTS)
        self.evaluated = self.evaluated + cost
        self.evaluations -= 1
        # Never lower it: later evaluations may have extra costs, such as statistics for averaged weights.
        self.evaluation = self.evaluation | cost
