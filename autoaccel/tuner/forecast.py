"""What a budget would bring, before it is paid: the production search on imagined tasks and a simulated clock.

An imagined task says what a recipe reaches after a training of any length. It is like a recorded one
(`forecast_prior`); the search, its plan and its deadline are real.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

import numpy as np

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Profiled
from autoaccel.core.quantities import FLOPS, Cost
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.trial import Purpose, TrialRequest
from autoaccel.errors import UsageError
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.base import Search
from autoaccel.search.scale import TINY
from autoaccel.tuner.forecast_scenario import Scenario, affordable, binding
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.summary import delivery

COVERED = 0.8
"""Share of the outcomes that an interval is meant to cover."""
FACTORS = (0.5, 1.0, 2.0)
"""Budgets that are looked at, as multiples of the one that was asked for."""


class Imagined(Protocol):
    """A task that was made up; its metric is an error, which is best at 0.

    Attributes:
        noise: Standard deviation of a level between two trainings alike.
    """

    noise: float

    def level(self, recipe: Recipe, origin: str, length: float) -> float:
        """Return what a recipe reaches, as a level: the logarithm of the error.

        Args:
            recipe: The recipe.
            origin: Where the search has it from.
            length: The length of its training, as a share of the budget that was asked for.
        """
        ...


Imagine = Callable[[int], Imagined]
"""From a seed to an imagined task."""


@dataclass(frozen=True)
class Interval:
    """An expectation, and the ends of the interval that is meant to hold `COVERED` of the outcomes."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True)
class Prospect:
    """What one budget would bring, over all simulated runs.

    Args:
        factor: The budget as a multiple of the one that was asked for.
        budget: The budget.
        trials: Mean number of trials by length, the final training excluded; shortest first.
        final: Median length of the training that is delivered.
        levels: The levels that are measured of what is delivered, one per simulated run.
        plain: What plain reaches with the whole budget, likewise.
        simulated: Share of the trials that was simulated, see `affordable`.
    """

    factor: float
    budget: Budget
    trials: Mapping[str, float]
    final: Budget
    levels: np.ndarray
    plain: np.ndarray
    simulated: float = 1.0


@dataclass(frozen=True)
class Forecast:
    """What half, once and twice a budget would bring.

    Args:
        prospects: One for each budget that is not too small, the smallest first.
        weights: The weights of the simulated runs, which sum to 1; the same for each budget.
    """

    prospects: tuple[Prospect, ...]
    weights: np.ndarray

    def interval(self, levels: np.ndarray) -> Interval:
        """Return the median and the interval of levels, one per simulated run."""
        low, high = (_quantile(levels, self.weights, share) for share in ((1 - COVERED) / 2, (1 + COVERED) / 2))
        return Interval(_quantile(levels, self.weights, 0.5), low, high)


def forecast(
    scenario: Scenario,
    tasks: Sequence[tuple[float, Imagine]],
) -> Forecast:
    """Simulate the run on each imagined task, with each multiple of the budget.

    Args:
        scenario: The run.
        tasks: The imagined tasks with their weights.

    Multiples below 1 with which nothing can be trained are left out.

    Raises:
        UsageError: If the budget that was asked for is too small, or in a quantity that cannot be simulated.
    """
    cases = [case for factor in FACTORS if (case := _case(scenario, factor))]
    rows, weights = [], []
    for number, (weight, imagine) in enumerate(tasks):
        task = imagine(scenario.settings.seed + number)
        rows.append([_played(scenario, task, case, number) for case in cases])
        weights.append(weight)
    prospects = tuple(map(_prospect, cases, zip(*rows, strict=True)))
    return Forecast(prospects, np.array(weights) / sum(weights))


@dataclass(frozen=True)
class _Case:
    """A budget, and what of it is simulated: with fewer workers or less budget where there are too many trials."""

    factor: float
    budget: Budget
    simulated: Budget
    workers: int
    share: float


@dataclass(frozen=True)
class _Played:
    """What a simulated run came to; see `Prospect`."""

    lengths: Counter[str]
    final: Budget
    level: float
    plain: float


def _case(scenario: Scenario, factor: float) -> _Case | None:
    budget = scenario.settings.budget * factor
    try:
        return _Case(factor, budget, *affordable(scenario, binding(budget, scenario.facts)))
    except UsageError:
        if factor >= 1:
            raise
        return None


def _played(scenario: Scenario, task: Imagined, case: _Case, number: int) -> _Played:
    search = _run(scenario, task, case.simulated, case.workers, number)
    trials = [each.request for each in search.trials if each.purpose is not Purpose.FINAL]
    lengths = Counter(str(request.budget) for request in sorted(trials, key=lambda each: each.budget.size))
    _, record = delivery(search)
    assert record is not None and record.final is not None
    level = math.log(max(record.final.metric, TINY))
    longest = min(case.factor, scenario.plan(scenario.settings.budget, 1).longest)
    plain = min(task.level(recipe, name, longest) for name, recipe in PLAIN.items())
    return _Played(lengths, record.request.budget, level, plain)


def _prospect(case: _Case, played: Sequence[_Played]) -> Prospect:
    lengths = sum((each.lengths for each in played), Counter[str]())
    often = len(played) / 2
    counts = {length: count / len(played) / case.share for length, count in lengths.items() if count >= often}
    final = sorted((each.final for each in played), key=lambda budget: budget.size)[len(played) // 2]
    levels, plain = (np.array([getattr(each, name) for each in played]) for name in ("level", "plain"))
    return Prospect(case.factor, case.budget, counts, final, levels, plain, case.share)


def _run(scenario: Scenario, task: Imagined, budget: Budget, workers: int, seed: int) -> Search:
    """Run the search on an imagined task to its end."""
    facts, whole = scenario.facts, scenario.settings.budget
    source, noise = Random(seed), dict[tuple[Recipe, float], float]()

    def metric(request: TrialRequest, progress: float) -> float:
        length = whole.share(Cost(request.budget)) / max(1, request.folds) * progress
        lucky = noise.setdefault((request.recipe, length), source.gauss(0.0, task.noise))
        return math.exp(task.level(request.recipe, request.origin, length) + lucky)

    reserve = scenario.reserve(budget)
    settings = replace(scenario.settings, budget=budget, seed=seed, reserve=reserve, sampler=scenario.drawn)
    search, clock = scenario.search(settings), SimulatedClock(scenario.spent)
    error = task.noise * math.exp(task.level(PLAIN["plain"], "plain", 1.0))
    speed = facts.train[FLOPS] / facts.train.seconds if facts.train.seconds else 1e9
    executor = TableExecutor(metric, clock, standard_error=error, flops_per_second=speed or 1e9, facts=facts)
    Loop(search, executor, clock).run([Profiled(facts, workers, nodes=(1,) * workers)])
    return search


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """Return the value below which a share of the weight lies, between neighbours by linear interpolation."""
    order = np.argsort(values, kind="stable")
    middles = np.cumsum(weights[order]) - weights[order] / 2
    return float(np.interp(share, middles, values[order]))
