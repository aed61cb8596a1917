"""Means over the cases of a suite, with standard errors over the seeds: the tasks are the suite, not a sample."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, variance

from benchmarks.search.harness import Results
from benchmarks.search.methods import OURS

SAME = 1e-6
"""Difference in regret that is due to rounding: some libraries keep values on a scale of their own."""
At = tuple[str, int]
"""A task and a seed."""


@dataclass(frozen=True)
class Mean:
    """A mean over tasks of means over seeds.

    Args:
        value: The mean.
        error: Its standard error; NaN if a task has a single seed.
        count: Number of cases.
    """

    value: float
    error: float
    count: int

    def __str__(self) -> str:
        error = "" if math.isnan(self.error) else f" ± {self.error:.3f}"
        return f"{self.value:.3f}{error}"


@dataclass(frozen=True)
class Row:
    """What a method reached on a suite with a budget.

    Args:
        method: The method.
        budget: The budget.
        regret: The mean regret.
        rival: The peer with the least mean regret on the same suite and budget; empty if there is no other.
        difference: The mean of the paired differences to the rival; negative is better than it.
        worse: Share of the cases that are worse than the default without a search; None if that was not run.
    """

    method: str
    budget: float
    regret: Mean
    rival: str
    difference: Mean | None
    worse: float | None


def mean(values: Mapping[At, float]) -> Mean:
    """Return the mean of the values of a suite."""
    tasks: dict[str, list[float]] = defaultdict(list)
    for (task, _), value in values.items():
        tasks[task].append(value)
    spread = [variance(found) / len(found) if len(found) > 1 else math.nan for found in tasks.values()]
    return Mean(fmean(map(fmean, tasks.values())), math.sqrt(sum(spread)) / len(tasks), len(values))


def rows(results: Results, suite: str) -> list[Row]:
    """Return the rows of a suite's table, by budget and regret."""
    table: dict[float, dict[str, dict[At, float]]] = defaultdict(lambda: defaultdict(dict))
    for case, regret in results.items():
        if case.suite == suite:
            table[case.budget][case.method][case.task, case.seed] = regret
    return [row for budget in sorted(table) for row in _rows(budget, table[budget])]


def _rows(budget: float, methods: Mapping[str, Mapping[At, float]]) -> list[Row]:
    regrets = {method: mean(found) for method, found in methods.items()}
    order = sorted(regrets, key=lambda method: regrets[method].value)
    found = []
    for method in order:
        rival = next((peer for peer in order if peer != method and not peer.startswith(OURS)), "")
        paired = _differences(methods[method], methods[rival]) if rival else {}
        worse = _differences(methods[method], methods["default"]) if "default" in methods else {}
        share = fmean(difference > SAME for difference in worse.values()) if worse else None
        found.append(Row(method, budget, regrets[method], rival, mean(paired) if paired else None, share))
    return found


def _differences(one: Mapping[At, float], other: Mapping[At, float]) -> dict[At, float]:
    return {at: one[at] - other[at] for at in one if at in other}
