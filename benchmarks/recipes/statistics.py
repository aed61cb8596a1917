"""What the rows of a task say: medians and spread of each method, and paired differences to ours."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from benchmarks.jobs import Row
from benchmarks.recipes.harness import Results
from benchmarks.recipes.methods import OURS, PLAINLY


@dataclass(frozen=True)
class Line:
    """A method on a task.

    Args:
        method: The method.
        values: Test metrics by seed.
        better: Mean of how much better ours is with the same seed, in the metric's units; None for ours.
        error: Its standard error over the seeds; NaN with a single one.
        wins: Seeds with which ours is better.
        losses: Seeds with which ours is worse.
    """

    method: str
    values: Mapping[int, float]
    better: float | None = None
    error: float = math.nan
    wins: int = 0
    losses: int = 0

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.values.values())


@dataclass(frozen=True)
class Found:
    """A task's results.

    Args:
        task: The task, with its budget and clock.
        metric: The metric's name.
        maximize: Whether a larger one is better.
        lines: The methods, the best median first.
        third: Test metrics of our recipes trained anew for a third of the budget, by seed.
        reached: Seeds with which those are at least as good as plain with the whole budget, and all such seeds.
    """

    task: str
    metric: str
    maximize: bool
    lines: Sequence[Line]
    third: Mapping[int, float]
    reached: tuple[int, int]


def found(results: Results) -> list[Found]:
    """Return what was found, task by task."""
    tables: dict[str, dict[str, dict[int, Row]]] = defaultdict(lambda: defaultdict(dict))
    for case, row in results.items():
        tables[f"{case.task}, {case.budget:g} s ({case.clock})"][case.method][case.seed] = row
    return [_found(name, methods) for name, methods in tables.items()]


def _found(name: str, methods: Mapping[str, Mapping[int, Row]]) -> Found:
    first = next(iter(next(iter(methods.values())).values()))
    sign = 1.0 if first["maximize"] else -1.0
    values = {method: {seed: row["test"] for seed, row in rows.items()} for method, rows in methods.items()}
    lines = [_line(method, own, values.get(OURS, {}), sign) for method, own in values.items()]
    third = {seed: row["third"] for seed, row in methods.get(OURS, {}).items() if row["third"] is not None}
    plain = values.get(PLAINLY, {})
    reached = [sign * (third[seed] - plain[seed]) >= 0 for seed in third if seed in plain]
    ranked = sorted(lines, key=lambda line: -sign * line.middle)
    return Found(name, first["metric"], first["maximize"], ranked, third, (sum(reached), len(reached)))


@dataclass(frozen=True)
class Standing:
    """A method over all tasks.

    Args:
        method: The method.
        place: Mean over tasks and seeds of its place among the methods: 0 is the best, 1 the worst.
        behind: Tasks on which its median is worse than ours.
        ahead: Tasks on which it is better.
    """

    method: str
    place: float
    behind: int
    ahead: int


def standings(every: Sequence[Found]) -> list[Standing]:
    """Return the methods over all tasks, the best one first."""
    places, medians = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for one in every:
        sign, values = (1.0 if one.maximize else -1.0), {line.method: line.values for line in one.lines}
        own = next((line.middle for line in one.lines if line.method == OURS), math.nan)
        for line in one.lines:
            medians[line.method].append(sign * (own - line.middle))
            for seed, value in line.values.items():
                others = [
                    found[seed] for method, found in values.items() if method != line.method and seed in found
                ]
                worse = [(sign * (other - value) > 0) + (other == value) / 2 for other in others]
                places[line.method] += [fmean(worse)] if worse else []
    found = [
        Standing(method, fmean(own), sum(d > 0 for d in medians[method]), sum(d < 0 for d in medians[method]))
        for method, own in places.items()
    ]
    return sorted(found, key=lambda one: one.place)


def _line(method: str, own: Mapping[int, float], ours: Mapping[int, float], sign: float) -> Line:
    differences = [sign * (ours[seed] - own[seed]) for seed in own if seed in ours]
    if method == OURS or not differences:
        return Line(method, own)
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    wins, losses = (sum(s * one > 0 for one in differences) for s in (1, -1))
    return Line(method, own, fmean(differences), error, wins, losses)
