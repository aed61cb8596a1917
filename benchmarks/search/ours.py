"""The search of autoaccel itself, in the loop of real runs, on a problem of the benchmark."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Action, Event, Profiled
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import TrialRequest
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.base import SearchSettings
from autoaccel.search.halving import HalvingSearch
from autoaccel.spaces.space import SearchSpace
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.summary import delivery
from benchmarks.search.problems import Problem, Values
from benchmarks.search.recorded import RECIPE

FULL = 1000.0
"""Seconds of a full training on the simulated clock."""
FREE: dict[str, Any] = {name: Cost() for name in ("evaluation", "resampling", "setup", "profile")}
"""Recorded costs that the peers do not pay either."""
SPACE = {
    "schema": 2,
    "name": "own hyperparameters only",
    "optimizer": {"adamw": {}},
    "learning_rate": {"linear": {}},
    "batch_size": {"constant_batch": {}},
}


def tune(
    problem: Problem,
    budget: float,
    seed: int,
    change: Callable[[HalvingSearch], None] = lambda _: None,
    sampler: object | None = None,
) -> tuple[Values, float, float]:
    """Run a search, and return the values and the length of the model in hand, and the seconds of its decisions.

    Args:
        problem: The problem.
        budget: The budget in full trainings.
        seed: The seed of the search.
        change: Changes the search before it begins, to take out a part of it.
        sampler: The source of recipes, see `SearchSettings`.
    """
    facts, space, sampler = _given(problem, sampler)
    whole = Budget(seconds=budget * FULL)
    search = HalvingSearch(SearchSettings(space, whole, seed, 0.0, sampler=sampler, longest=Budget(seconds=FULL)))
    change(search)
    clock, spent = SimulatedClock(0.0), _timed(search)
    error = problem.table.error if problem.table else 0.0
    executor = TableExecutor(_metric(problem, facts.maximize), clock, standard_error=error, facts=facts)
    Loop(search, executor, clock).run([Profiled(facts)])
    assert clock.now() <= budget * FULL * 1.001, "the deadline was missed"
    _, record = delivery(search)
    assert record is not None and record.final is not None
    length = (record.request.budget.seconds or 0.0) / FULL
    if problem.continues:  # the weights that are delivered may be those of an earlier milestone
        length *= record.final.progress
    return _values(problem, record.request.recipe), length, sum(spent)


def _given(problem: Problem, sampler: object | None) -> tuple[TaskFacts, SearchSpace, object | None]:
    """Return the facts, the space and the sampler of a problem."""
    table, speed = problem.table, Cost(seconds=FULL / 640_000)
    if table:
        facts = replace(table.facts, n_train=64_000, train=speed, continues=problem.continues, **FREE)
        return facts, table.space, table.sampler(sampler)
    facts = TaskFacts(
        kind="table", capabilities=frozenset({"table", "classes"}), metric="loss", maximize=False,
        n_train=64_000, n_valid=10_000, train=speed, continues=problem.continues,
    )  # fmt: skip
    return facts, _space().with_model(problem.domains, problem.default), sampler


def _metric(problem: Problem, maximize: bool) -> Callable[[TrialRequest, float], float]:
    def metric(request: TrialRequest, progress: float) -> float:
        if problem.table and request.recipe not in problem.table.recipes:
            return math.nan  # evidence on a part of the winner, which nobody recorded
        length = (request.budget.seconds or 0.0) / FULL
        loss = problem.loss(_values(problem, request.recipe), length, progress)
        return -loss if maximize else loss

    return metric


def _timed(search: HalvingSearch) -> list[float]:
    """Return the seconds of a search's decisions, a list that grows with them."""
    handle, spent = search.handle, list[float]()

    def timed(event: Event, now: float) -> list[Action]:
        begun = time.perf_counter()
        actions = handle(event, now)
        spent.append(time.perf_counter() - begun)
        return actions

    search.handle = timed  # type: ignore[method-assign]
    return spent


def _values(problem: Problem, recipe: Recipe) -> Values:
    if problem.table:
        return {RECIPE: problem.table.recipes.index(recipe)}
    return {**problem.default, **recipe.model}  # type: ignore[dict-item]


@cache
def _space() -> SearchSpace:
    from autoaccel.techniques.registry import catalog

    return SearchSpace.from_data(SPACE, catalog(), lambda name: {})
