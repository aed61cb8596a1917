"""The peers that need no library: no search, random search, one epoch, successive halving and Hyperband."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, product
from random import Random

from benchmarks.search.problems import Problem, Values
from benchmarks.search.trainings import ETA, RUNGS, Trainings, search

SCREENED = 1 / 2
"""Share of the budget beyond the first full training that `one_epoch` screens recipes with."""


@search
def default(trainings: Trainings, seed: int) -> None:
    """Train the default in full: no search."""
    trainings.train(trainings.problem.default, 1.0)


@search
def random(trainings: Trainings, seed: int) -> None:
    """Train random recipes in full."""
    for values in _recipes(trainings.problem, seed):
        trainings.train(values, 1.0)


@search
def one_epoch(trainings: Trainings, seed: int) -> None:
    """Train many recipes briefly, then the best of them in full (Egele et al. 2023)."""
    recipes = _recipes(trainings.problem, seed)
    number = max(1, round(SCREENED * (trainings.budget - 1) / RUNGS[0]))
    screened = []
    for index in range(number):
        values = next(recipes)
        screened.append((trainings.train(values, RUNGS[0]), index, values))
    for _, _, values in sorted(screened, key=lambda one: one[:2]):
        trainings.train(values, 1.0)


@search
def asha(trainings: Trainings, seed: int) -> None:
    """Asynchronous successive halving (Li et al. 2020): promote the top third of a rung, or try a recipe."""
    recipes = _recipes(trainings.problem, seed)
    rungs: list[dict[int, float]] = [{} for _ in RUNGS]
    tried: list[Values] = []
    while True:
        chosen = _promotable(rungs)
        if chosen is None:
            tried.append(next(recipes))
            chosen = len(tried) - 1, 0
        recipe, rung = chosen
        rungs[rung][recipe] = trainings.train(tried[recipe], RUNGS[rung])


def _promotable(rungs: list[dict[int, float]]) -> tuple[int, int] | None:
    """Return a recipe and the rung to train it to."""
    for rung in reversed(range(len(rungs) - 1)):
        done = rungs[rung]
        for recipe in sorted(done, key=done.__getitem__)[: len(done) // ETA]:
            if recipe not in rungs[rung + 1]:
                return recipe, rung + 1
    return None


@search
def hyperband(trainings: Trainings, seed: int) -> None:
    """Hyperband (Li et al. 2018): brackets of successive halving that begin on each of the rungs, over and over."""
    recipes = _recipes(trainings.problem, seed)
    brackets(lambda length: next(recipes), trainings.train)


def brackets(propose: Callable[[float], Values], train: Callable[[Values, float], float]) -> None:
    """Run the brackets of Hyperband over and over, until `train` raises an error.

    Args:
        propose: From the length of a bracket's first trainings to a recipe.
        train: From a recipe and a length to the loss.
    """
    number = len(RUNGS)
    for bracket in count():
        first = bracket % number
        size = -(-number * ETA ** (number - 1 - first) // (number - first))
        left = [propose(RUNGS[first]) for _ in range(size)]
        for rung in range(first, number):
            losses = [train(values, RUNGS[rung]) for values in left]
            best = sorted(range(len(left)), key=losses.__getitem__)
            left = [left[index] for index in best[: max(1, len(left) // ETA)]]


def _recipes(problem: Problem, seed: int) -> Iterator[Values]:
    source = Random(seed)
    yield problem.default
    yield from problem.known
    if not all(domain.options for domain in problem.domains.values()):
        while True:
            yield problem.sample(source)
    # Of a table, all recipes have their turn before one comes again.
    names, options = list(problem.domains), [domain.options for domain in problem.domains.values()]
    choices = [dict(zip(names, found, strict=True)) for found in product(*options)]
    left = [values for values in choices if values not in (problem.default, *problem.known)]
    while True:
        yield from source.sample(left, len(left))
        left = choices
