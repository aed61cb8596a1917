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
from benchmarks.search.recorded import RECIPE, Table

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
    table: Table | None = problem.table
    continues, speed = problem.continues, Cost(seconds=FULL / 640_000)
    if table:
        facts = replace(table.facts, n_train=64_000, train=speed, continues=continues, **FREE)
        space, sampler = table.space, table.sampler(sampler)
    else:
        facts = TaskFacts(
            kind="table", capabilities=frozenset({"table", "classes"}), metric="loss", maximize=False,
            n_train=64_000, n_valid=10_000, train=speed, continues=continues,
        )  # fmt: skip
        space = _space().with_model(problem.domains, problem.default)
    settings = SearchSettings(
        space, Budget(seconds=budget * FULL), seed, 0.0, sampler=sampler, longest=Budget(seconds=FULL)
    )
    search, clock = HalvingSearch(settings), SimulatedClock(0.0)
    change(search)

    def values_of(recipe: Recipe) -> Values:
        if table:
            return {RECIPE: table.recipes.index(recipe)}
        return {**problem.default, **recipe.model}  # type: ignore[dict-item]

    def metric(request: TrialRequest, progress: float) -> float:
        if table and request.recipe not in table.recipes:
            return math.nan  # evidence on a part of the winner, which nobody recorded
        loss = problem.loss(values_of(request.recipe), (request.budget.seconds or 0.0) / FULL, progress)
        return -loss if facts.maximize else loss

    spent = 0.0
    handle = search.handle

    def timed(event: Event, now: float) -> list[Action]:
        nonlocal spent
        begun = time.perf_counter()
        actions = handle(event, now)
        spent += time.perf_counter() - begun
        return actions

    search.handle = timed  # type: ignore[method-assign]
    executor = TableExecutor(metric, clock, standard_error=table.error if table else 0.0, facts=facts)
    Loop(search, executor, clock).run([Profiled(facts)])
    assert clock.now() <= budget * FULL * 1.001, "the deadline was missed"
    _, record = delivery(search)
    assert record is not None and record.final is not None
    length = (record.request.budget.seconds or 0.0) / FULL
    if problem.continues:  # the weights that are delivered may be those of an earlier milestone
        length *= record.final.progress
    return values_of(record.request.recipe), length, spent


@cache
def _space() -> SearchSpace:
    from autoaccel.techniques.registry import catalog

    return SearchSpace.from_data(SPACE, catalog(), lambda name: {})
