"""The search of autoaccel itself, in the loop of real runs, on a problem of the benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

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

FULL = 1000.0
"""Seconds of a full training on the simulated clock."""
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
    space = _space().with_model(problem.domains, problem.default)
    facts = TaskFacts(
        kind="table", capabilities=frozenset({"table", "classes"}), metric="loss", maximize=False, n_train=64_000,
        n_valid=10_000, train=Cost(seconds=FULL / 640_000), continues=problem.continues,
    )  # fmt: skip
    settings = SearchSettings(
        space, Budget(seconds=budget * FULL), seed, 0.0, sampler=sampler, longest=Budget(seconds=FULL)
    )
    search, clock = HalvingSearch(settings), SimulatedClock(0.0)
    change(search)

    def loss(request: TrialRequest, progress: float) -> float:
        length = request.budget.seconds or 0.0
        return problem.loss(_values(problem, request.recipe), length / FULL, progress)

    spent = 0.0
    handle = search.handle

    def timed(event: Event, now: float) -> list[Action]:
        nonlocal spent
        begun = time.perf_counter()
        actions = handle(event, now)
        spent += time.perf_counter() - begun
        return actions

    search.handle = timed  # type: ignore[method-assign]
    Loop(search, TableExecutor(loss, clock, facts=facts), clock).run([Profiled(facts)])
    assert clock.now() <= budget * FULL * 1.001, "the deadline was missed"
    _, record = delivery(search)
    assert record is not None
    return _values(problem, record.request.recipe), (record.request.budget.seconds or 0.0) / FULL, spent


@cache
def _space() -> SearchSpace:
    from autoaccel.techniques.registry import catalog

    return SearchSpace.from_data(SPACE, catalog(), lambda name: {})


def _values(problem: Problem, recipe: Recipe) -> Values:
    return {**problem.default, **recipe.model}  # type: ignore[dict-item]
