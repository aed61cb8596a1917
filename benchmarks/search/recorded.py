"""Our own trainings as a suite: a search chooses among the recipes that were recorded for a task.

All searches draw from the same table, to peers a choice without an order. Ours searches the shipped space itself,
so that its model sees the recipes as in a real run, and only their draw is from the table. What is delivered is
judged on the test set, which no search sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from autoaccel.core.catalog import Domain
from autoaccel.core.codec import from_data
from autoaccel.core.facts import TaskFacts
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.search.base import Findings, Proposal
from autoaccel.search.mixed_sampler import MixedSampler
from autoaccel.spaces.space import SearchSpace
from benchmarks.search.portfolio import load, unseen
from benchmarks.search.problems import Problem
from benchmarks.search.record import RECORDED, read
from benchmarks.search.record_tasks import TASKS

RECIPE = "recipe"
SIZE = 5
"""Recipes of a portfolio."""
ETA = 3.0
"""Each recorded length is so many times the one before."""
Rows = Mapping[int, Mapping[str, Any]]
"""A recipe's recorded trainings by rung."""


@dataclass(frozen=True)
class Table:
    """What autoaccel's search is given of a recorded task, instead of hyperparameters.

    Args:
        space: The shipped space with the portfolio that may be used.
        facts: The task's facts.
        recipes: The recorded recipes, in the order of the problem's choices.
        error: Standard error of a score.
    """

    space: SearchSpace
    facts: TaskFacts
    recipes: Sequence[Recipe]
    error: float

    def sampler(self, given: object | None) -> Callable[[SearchSpace, int], MixedSampler]:
        """Return the default sampler with its draws from the table, or without its model by the name `random`.

        Raises:
            ValueError: For another one, which would propose what was not recorded.
        """
        if given not in (None, "random"):
            raise ValueError(f"the sampler {given!r} does not draw from a table; accepted are None and 'random'")
        return lambda space, seed: TableSampler(space, seed, self.recipes, given == "random")


class TableSampler(MixedSampler):
    """The default sampler, for which there are no other recipes than those of a table."""

    def __init__(self, space: SearchSpace, seed: int, recipes: Sequence[Recipe], blind: bool):
        super().__init__(space, seed)
        self._blind = blind
        self._recipes = [recipe for recipe in recipes if recipe not in PLAIN.values()]

    def propose(self, findings: Findings) -> Proposal | None:
        """See `Sampler`."""
        return super().propose(replace(findings, promise=None) if self._blind else findings)

    def _random(self, reference: bool) -> Recipe:
        return self._source.choice(self._recipes)

    def _mutation(self, parent: Recipe, reference: bool) -> Recipe:
        return self._source.choice(self._recipes)


def recorded(data: Path) -> list[Problem]:
    """Each task's recorded recipes, plain as the default and nothing known of the others."""
    return [_problem("recorded", name, ()) for name in TASKS]


def portfolio(data: Path) -> list[Problem]:
    """The same with a portfolio that was picked on the space's other tasks: its first recipe is the default."""
    return [_problem("portfolio", name, keys) for name, keys in _portfolios().items()]


@cache
def _portfolios() -> Mapping[str, Sequence[str]]:
    """Return the keys of each task's portfolio, best first. A space's only task has none."""
    found = {}
    for space in dict.fromkeys(task.space for task in TASKS.values()):
        outcomes = load(space)
        names = list(outcomes.recipes)
        offered = [place for place, key in enumerate(names) if key not in PLAIN]
        if len(outcomes.tasks) > 1:
            for task, places in zip(outcomes.tasks, unseen(outcomes, SIZE, offered), strict=True):
                found[task] = [names[place] for place in places]
    return found


def _problem(suite: str, name: str, known: Sequence[str]) -> Problem:
    head, *rows = read(RECORDED / f"{name}.jsonl")
    tried: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        if not row["seed"]:
            tried.setdefault(row["recipe"], {})[row["rung"]] = row
    named = {key: Recipe.from_flat(by_rung[0]["flat"]) for key, by_rung in tried.items()}
    # The same recipe may have been recorded by two names; the first counts.
    tables = {recipe: tried[key] for key, recipe in reversed(named.items())}
    recipes = list(dict.fromkeys(named.values()))
    facts = from_data(TaskFacts, head["facts"])
    sign, choices = (-1.0 if facts.maximize else 1.0), [tables[recipe] for recipe in recipes]
    order = [{RECIPE: place} for place in dict.fromkeys(recipes.index(named[key]) for key in [*known, "plain"])]
    space = replace(SearchSpace.load(head["space"]), portfolio={key: named[key] for key in known})
    return Problem(
        suite, name, {RECIPE: Domain(options=tuple(range(len(recipes))))}, order[0],
        lambda values, length: _curve(choices[int(values[RECIPE])], sign, length), False, known=order[1:],
        judge=lambda values, length: sign * _end(choices[int(values[RECIPE])], length, _tested),
        table=Table(space, facts, recipes, choices[0][_top(choices[0])]["curve"][-1]["standard_error"]),
    )  # fmt: skip


def _curve(rows: Rows, sign: float, length: float) -> Callable[[float], float]:
    """Return the score along a training. Where only ends were evaluated, shorter trainings stand for its course."""
    end = _end(rows, length, _ended)
    curve = rows[_rung(rows, length)]["curve"]
    if len(curve) > 1:
        progress, scores = [point["progress"] for point in curve], [point["metric"] for point in curve]
        # Evaluations are not exactly on their quarters, and the end belongs to this length.
        progress[-1], scores[-1] = 1.0, end
        return lambda at: sign * float(np.interp(at, progress, scores))
    return lambda at: sign * (end if at >= 1.0 else _end(rows, length * at, _ended))


def _end(rows: Rows, length: float, score: Callable[[Mapping[str, Any]], float]) -> float:
    """Return the score of a training annealed to a length, between two recorded ones by its logarithm."""
    at = max(0.0, _top(rows) + math.log(max(length, 1e-9)) / math.log(ETA))
    below = min(_top(rows), int(at + 1e-3))
    share = max(0.0, at - below)
    return score(rows[below]) if share < 1e-3 else (1 - share) * score(rows[below]) + share * score(rows[below + 1])


def _rung(rows: Rows, length: float) -> int:
    return min(_top(rows), max(0, round(_top(rows) + math.log(max(length, 1e-9)) / math.log(ETA))))


def _top(rows: Rows) -> int:
    return max(rows)


def _ended(row: Mapping[str, Any]) -> float:
    return float(row["curve"][-1]["metric"]) if row["outcome"] == "complete" else math.nan


def _tested(row: Mapping[str, Any]) -> float:
    return float(row["test"]["metric"]) if row["outcome"] == "complete" else math.nan
