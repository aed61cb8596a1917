"""How often the outcome of a search lies in the interval that was forecast, and how large the error is.

    python -m benchmarks.search.calibration

On each recorded task the forecast comes from the other tasks only; the outcome is that of the production search
among the recorded recipes, whose values between the recorded lengths are interpolated.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Profiled
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.trial import TrialRequest
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.base import Findings, Proposal, SearchSettings
from autoaccel.search.halving import HalvingSearch
from autoaccel.spaces.space import SearchSpace
from autoaccel.techniques.registry import catalog
from autoaccel.tuner.forecast import FACTORS, forecast
from autoaccel.tuner.forecast_prior import imagined
from autoaccel.tuner.forecast_scenario import Scenario
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.summary import delivery
from benchmarks.search.priors import Curves, curves, prior
from benchmarks.search.record import RECORDED, read

BUDGET = 4.0
"""Seconds; twice that ends with the longest recorded training."""


@dataclass(frozen=True)
class Row:
    """An outcome and what was forecast of it: levels relative to plain with the budget that was asked for.

    Args:
        factor: The budget, as a multiple of the one that was asked for.
        outcome: What a search reached.
        expected: What was expected.
        low: The lower end of the interval.
        high: The upper end.
    """

    factor: float
    outcome: float
    expected: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the outcome lies in the interval."""
        return self.low <= self.outcome <= self.high


class Recordings:
    """Proposes recorded recipes, the known-good ones first, and knows what they reach.

    Args:
        task: The recorded curves.
    """

    def __init__(self, task: Curves):
        self._task, self.recipes = task, dict[str, Recipe]()
        for row in read(RECORDED / f"{task.name}.jsonl")[1:]:
            self.recipes.setdefault(row["recipe"], Recipe.from_flat(row["flat"]))
        self._names = {recipe: name for name, recipe in self.recipes.items()}

    def level(self, recipe: Recipe, length: float) -> float:
        """Return a recipe's level after `length` seconds of training; NaN if it failed."""
        return float(
            np.interp(math.log(length), np.log(self._task.lengths), self._task.levels[self._names[recipe]])
        )

    def sampler(self, space: SearchSpace, seed: int) -> Queue:
        """Return a sampler of these recipes."""
        known = [name for name in self.recipes if name.startswith("portfolio")]
        others = [name for name in self.recipes if not name.startswith(("portfolio", "plain"))]
        Random(seed).shuffle(others)
        return Queue([Proposal(self.recipes[name], name) for name in (*known, *others)])


class Queue:
    """A sampler that proposes what it is given, in order."""

    def __init__(self, proposals: list[Proposal]):
        self._proposals = proposals

    def propose(self, findings: Findings) -> Proposal | None:
        """See `Sampler`."""
        return self._proposals.pop(0) if self._proposals else None

    def tell(self, proposal: Proposal, value: float | None) -> None:
        """See `Sampler`."""


def outcome(task: Curves, space: SearchSpace, recorded: Recordings, budget: float, seed: int) -> float:
    """Return the level that the production search reaches on a recorded task."""
    clock, sign = SimulatedClock(), -1.0 if task.facts.maximize else 1.0

    def metric(request: TrialRequest, progress: float) -> float:
        level = recorded.level(request.recipe, (request.budget.seconds or 0.0) * progress)
        return sign * task.scale.score(level) if math.isfinite(level) else math.nan

    settings = SearchSettings(space, Budget(seconds=budget), seed, 0.0, sampler=recorded.sampler)
    search = HalvingSearch(settings)
    error = float(task.errors[-1]) * math.exp(float(task.levels["plain"][-1]))
    Loop(search, TableExecutor(metric, clock, standard_error=error, facts=task.facts), clock).run(
        [Profiled(task.facts)]
    )
    _, record = delivery(search)
    assert record is not None and record.final is not None
    return task.scale.level(task.facts.score(record.final)[0])


def left_out(task: Curves, others: Sequence[Curves], seeds: int) -> list[Row]:
    """Return rows for a recorded task that is not among those that the forecast knows."""
    rows = read(RECORDED / f"{task.name}.jsonl")
    space, _ = SearchSpace.load(rows[0]["space"], catalog()).for_task(task.facts.capabilities)
    settings = SearchSettings(space, Budget(seconds=BUDGET), 0, 0.0)
    scenario = Scenario(HalvingSearch, settings, replace(task.facts, maximize=False), 1, 0.0, lambda budget: 0.0)
    said = forecast(scenario, imagined(prior(others), task.facts, scenario.final))
    recorded = Recordings(task)
    plain = min(recorded.level(recipe, BUDGET) for recipe in PLAIN.values())
    once = next(each for factor, each in zip(FACTORS, said.prospects, strict=True) if factor == 1)
    found = []
    for factor, prospect in zip(FACTORS, said.prospects, strict=True):
        interval = said.interval(prospect.levels - once.plain)
        for seed in range(seeds):
            level = outcome(task, space, recorded, BUDGET * factor, seed) - plain
            found.append(Row(factor, level, interval.expected, interval.low, interval.high))
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    given, rows, tasks = parser.parse_args(), list[Row](), curves()
    for task in tasks:
        rows += _shown(task.name, left_out(task, [other for other in tasks if other is not task], given.seeds))
    print("| budget | inside the interval | median error | median width |")
    for factor in FACTORS:
        some = [row for row in rows if row.factor == factor]
        error = statistics.median(abs(row.outcome - row.expected) for row in some)
        width = statistics.median(row.high - row.low for row in some)
        inside = sum(row.inside for row in some)
        print(f"| {factor:g} x | {inside} of {len(some)} | {error:.2f} | {width:.2f} |")


def _shown(name: str, rows: list[Row]) -> list[Row]:
    for row in rows:
        ends = f"{row.expected:.3f} ({row.low:.3f} to {row.high:.3f}){'' if row.inside else ', outside'}"
        print(f"{name}, {row.factor:g} x: {row.outcome:.3f}, forecast {ends}", flush=True)
    return rows


if __name__ == "__main__":
    main()
