"""A search for a front: models of which none is better both in the metric and in a second quantity.

Recipes are promoted by non-dominated rank and crowding (NSGA-II, Deb et al. 2002), and proposed by one weighting of
the two after another, each drawn at random (augmented Tchebycheff; ParEGO, Knowles 2006).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.goal import COST, Goal
from autoaccel.core.recipe import Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.search.base import Promise
from autoaccel.search.encoding import Encoder
from autoaccel.search.improvement import log_improvement
from autoaccel.search.value_model import Observation, ValueModel
from autoaccel.spaces.space import SearchSpace

AUGMENTED = 0.05
"""Weight of the sum beside the larger part: of two recipes alike in that one, the better in the other wins."""

Point = tuple[float, float]


def front(records: Iterable[TrialRecord], goal: Goal, budget: Budget, facts: TaskFacts) -> list[TrialRecord]:
    """Return the complete trials that no other one beats in both, the best metric first; empty without a second."""
    points: list[tuple[Point, TrialRecord]] = []
    for record in records:
        if goal.second and record.final is not None and record.outcome is not None:
            second = goal.second_of(record.outcome, budget)
            if second is not None:
                points.append(((facts.score(record.final)[0], second), record))
    found: list[TrialRecord] = []
    least = math.inf
    for (_, second), record in sorted(points, key=lambda each: each[0]):
        if second < least:
            least = second
            found.append(record)
    return found


def standing(points: Sequence[Point]) -> list[tuple[int, float]]:
    """Return each point's rank, 0 for the front, and its negated crowding distance: smaller is better in both."""
    ranks = [0] * len(points)
    left = set(range(len(points)))
    crowding = [0.0] * len(points)
    while left:
        first = [i for i in left if not any(_dominates(points[j], points[i]) for j in left)]
        for i in first:
            ranks[i] += len(points) - len(left)
        for axis in (0, 1):
            order = sorted(first, key=lambda i: (points[i][axis], i))
            span = points[order[-1]][axis] - points[order[0]][axis] or 1.0
            crowding[order[0]] = crowding[order[-1]] = math.inf
            for before, i, after in zip(order, order[1:], order[2:], strict=False):
                crowding[i] += (points[after][axis] - points[before][axis]) / span
        left -= set(first)
    return [(rank, -distance) for rank, distance in zip(ranks, crowding, strict=True)]


def _dominates(one: Point, other: Point) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


class FrontModel:
    """What a search for a front believes of recipes: their order, and what new ones promise.

    Args:
        space: The space of the recipes.
        goal: The goal of the run.
        seed: Seed of the weightings.
    """

    def __init__(self, space: SearchSpace, goal: Goal, seed: int):
        # All recipes cost the same at one length: a front of costs is one of lengths, and the ladder has them.
        self.searched = bool(goal.second) and goal.second != COST
        self._axis = goal.axis(Budget()) if self.searched else ""
        self._encoder = Encoder(space)
        self._model = ValueModel(self._encoder, seed)
        self._source = random.Random(seed)
        self._points: dict[Recipe, Point] = {}
        self._others: list[Recipe] = []

    def update(self, mean: Mapping[Recipe, float], value: Callable[[Recipe, str], float | None]) -> None:
        """Learn the expected levels of recipes at the final's length, and their second quantity where known."""
        known = {recipe: value(recipe, self._axis) for recipe in mean}
        self._points = {recipe: (mean[recipe], second) for recipe, second in known.items() if second is not None}
        self._others = [recipe for recipe in mean if recipe not in self._points]

    def order(self) -> Mapping[Recipe, float]:
        """Return each recipe's place, the best first: for the promotion of recipes."""
        recipes = list(self._points)
        standings = standing(list(self._points.values()))
        ranked = sorted(range(len(recipes)), key=lambda i: (standings[i], self._points[recipes[i]]))
        return {recipe: float(place) for place, recipe in enumerate([*(recipes[i] for i in ranked), *self._others])}

    def promise(self) -> Promise | None:
        """Return what recipes promise under a new random weighting; None before there are results."""
        if not self._points:
            return None
        weight, values = self._source.random(), np.array(list(self._points.values()))
        quality, second = _unit(values[:, 0]), _unit(np.log(values[:, 1]))
        parts = np.stack([weight * quality, (1 - weight) * second])
        scalars = parts.max(0) + AUGMENTED * parts.sum(0)
        seen = [
            Observation(recipe, 1.0, value) for recipe, value in zip(self._points, scalars.tolist(), strict=True)
        ]
        self._model.fit(seen, float)
        best = float(scalars.min())

        def promised(recipes: Sequence[Recipe]) -> Sequence[float]:
            return log_improvement(self._model.predict(self._encoder(recipes), 1.0), best)

        return promised


def _unit(values: np.ndarray) -> np.ndarray:
    """Return values as shares of the distance from the best to twice that of the median, at most 1."""
    best = float(values.min())
    span = 2 * (float(np.median(values)) - best) or float(values.max()) - best or 1.0
    return np.minimum((values - best) / span, 1.0)
