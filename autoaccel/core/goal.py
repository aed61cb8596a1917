"""What a run is after besides the best metric: a target, constraints, and a second objective.

A trial measures what a goal asks of its model. What a recipe's model is (its latency, size and memory) does not
depend on how long it is trained; a metric does.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import FLOPS, SECONDS
from autoaccel.core.trial import Outcome, Report
from autoaccel.errors import UsageError, suggestion

SURE = 1.645
"""Standard errors by which a score must beat the target: in 19 of 20 cases the true value then beats it too."""
FAULTLESS = 3.0
"""Rule of three: of n samples without a fault, the rate of faults is below 3 / n in 19 of 20 cases."""
LATENCY, SIZE, MEMORY = "latency_ms", "size_mb", "memory_mb"
FOOTPRINT = (LATENCY, SIZE, MEMORY)
"""What is measured of a delivered model besides metrics: it depends on the recipe, not on how long it trains."""
TIMED = (LATENCY, MEMORY)
"""What depends on the machine, so that no run with a pure FLOP budget may decide by it."""
QUALITY, COST = "quality", "cost"
SECOND: Mapping[str, str] = MappingProxyType({COST: COST, "latency": LATENCY, "size": SIZE, "memory": MEMORY})
"""What may be the second objective, and the quantity that stands for it."""
SIDES: Mapping[str, Callable[[float, float], bool]] = MappingProxyType({"<=": operator.le, ">=": operator.ge})


@dataclass(frozen=True)
class Target:
    """A value of the metric at which a run has reached what it was asked for.

    Args:
        metric: The name of the task's metric.
        value: The value to reach, in the metric's units and direction.
    """

    metric: str
    value: float

    def __str__(self) -> str:
        return f"{self.metric} {self.value:g}"

    def reached(self, report: Report, maximize: bool, samples: int) -> bool:
        """Return whether a score beats the target for sure; where its noise is unknown, by its value alone.

        Args:
            report: The evaluation.
            maximize: Whether a larger metric is better.
            samples: Number of validation samples that it is of.
        """
        ahead, error = (report.metric - self.value) * (1 if maximize else -1), report.standard_error
        # Where no sample was wrong there is no spread to measure; the true rate may still be off by so much.
        margin = FAULTLESS / samples if error == 0 else SURE * (error or 0.0)
        return ahead >= margin


@dataclass(frozen=True)
class Constraint:
    """A limit on what is measured of a model.

    Args:
        quantity: One of `FOOTPRINT`, or the name of a metric.
        side: `<=` or `>=`.
        limit: In the quantity's units.
    """

    quantity: str
    side: str
    limit: float

    def __str__(self) -> str:
        return f"{self.quantity}{self.side}{self.limit:g}"

    def excess(self, value: float | None) -> float:
        """Return by which share of the limit a value breaks it: 0 if it keeps it, infinity if it is unknown."""
        if value is None or math.isnan(value):
            return math.inf
        if SIDES[self.side](value, self.limit):
            return 0.0
        return abs(value - self.limit) / max(abs(self.limit), 1e-12)


@dataclass(frozen=True)
class Goal:
    """What a run is after besides the best metric; by default nothing.

    Args:
        target: When to stop early.
        constraints: What a model must keep to be delivered.
        second: The second objective, one of `SECOND`; empty for none.
    """

    target: Target | None = None
    constraints: tuple[Constraint, ...] = ()
    second: str = ""

    def __bool__(self) -> bool:
        return self != Goal()

    @property
    def measures(self) -> tuple[str, ...]:
        """What a trial has to measure of its model, each name once."""
        second = SECOND.get(self.second, COST)
        names = [constraint.quantity for constraint in self.constraints]
        return tuple(dict.fromkeys([*names, *([second] if second != COST else [])]))

    def check(self, budget: Budget) -> None:
        """Check that a budget allows this goal.

        Raises:
            UsageError: If a measured second or byte would enter the decisions of a run with a pure FLOP budget.
        """
        if budget.deterministic and (timed := [name for name in self.measures if name in TIMED]):
            raise UsageError(
                f"{timed[0]} depends on the machine, and a run with a budget of {budget} must not: "
                "add a limit in seconds, or constrain size_mb"
            )

    def suits(self, facts: TaskFacts) -> None:
        """Check that a task allows this goal.

        Raises:
            UsageError: If the target names another metric than the task's, or the task is judged on folds.
        """
        if self.target is not None and self.target.metric != facts.metric:
            raise UsageError(
                f"--target {self.target.metric}={self.target.value:g}: the metric of this task is {facts.metric}; "
                f"write {facts.metric}=VALUE, or choose another with --metric"
            )
        if facts.folds and (self.target or self.second):
            what = "--target" if self.target else "--objective"
            raise UsageError(
                f"{what} compares single models, and this task judges recipes by the mean of {facts.folds} folds; "
                "leave out folds"
            )

    def axis(self, budget: Budget) -> str:
        """Return the name of the second objective's quantity: for the cost, what the budget limits first of all."""
        costs = SECONDS if SECONDS in budget else FLOPS
        return costs if self.second == COST else SECOND[self.second]

    def second_of(self, outcome: Outcome, budget: Budget) -> float | None:
        """Return a trial's value of the second objective, smaller is better; None if it was not measured."""
        axis = self.axis(budget)
        return outcome.cost[axis] if self.second == COST else outcome.measured.get(axis)


def parse_goal(target: str | None, subject_to: str | Iterable[str], objective: str | None) -> Goal:
    """Read a goal from what a user wrote, such as `accuracy=0.97`, `latency_ms<=5` and `quality,size`.

    Raises:
        UsageError: If a part is not understood or contradicts another; with what is accepted.
    """
    given = [subject_to] if isinstance(subject_to, str) else list(subject_to)
    constraints = tuple(_constraint(text) for text in given)
    for one, other in combinations(sorted(constraints, key=lambda each: each.side), 2):
        if one.quantity == other.quantity and (one.side == other.side or one.limit < other.limit):
            raise UsageError(
                f"--subject-to {one} and {other}: give one limit from above and a smaller one from below"
            )
    return Goal(None if target is None else _target(target), constraints, _second(objective))


def _target(text: str) -> Target:
    name, _, number = str(text).partition("=")
    value = _number(number)
    if not name.strip() or value is None or name.rstrip()[-1] in "<>":
        raise UsageError(
            f"--target {text!r} is not understood; write METRIC=VALUE, such as accuracy=0.97: whether larger or "
            "smaller is better is the metric's own"
        )
    return Target(name.strip(), value)


def _constraint(text: str) -> Constraint:
    parts = re.fullmatch(r"\s*(\w+)\s*(<=|>=)\s*(\S+)\s*", str(text))
    limit = _number(parts[3]) if parts else None
    if parts is None or limit is None:
        raise UsageError(
            f"--subject-to {text!r} is not understood; write NAME<=VALUE or NAME>=VALUE with one of "
            f"{', '.join(FOOTPRINT)} or a metric, such as 'latency_ms<=5' or 'recall>=0.9'"
        )
    name = parts[1]
    if name in FOOTPRINT and (parts[2] == ">=" or limit <= 0):
        raise UsageError(f"--subject-to {text!r}: {name} is limited from above, by a positive number, with <=")
    if name in SECOND:
        unit = f"write {SECOND[name]}" if name != COST else "the cost of a trial is what --budget limits"
        raise UsageError(f"--subject-to {text!r}: {unit}")
    return Constraint(name, parts[2], limit)


def _second(text: str | None) -> str:
    if text is None:
        return ""
    names = [name.strip() for name in str(text).split(",")]
    if len(names) != 2 or names[0] != QUALITY or names[1] not in SECOND:
        accepted = ", ".join(f"{QUALITY},{name}" for name in SECOND)
        hint = suggestion(names[-1], SECOND)
        raise UsageError(f"--objective {text!r} is not one of {accepted}{hint}")
    return names[1]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
