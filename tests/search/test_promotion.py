"""What is left where a small space has no other recipes."""

import math

import pytest
from autoaccel.search_spaces import read
from simulation import FACTS

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import Domain
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Profiled
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, Purpose
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.base import SearchSettings
from autoaccel.search.halving import HalvingSearch
from autoaccel.search.valuation import Valuation
from autoaccel.search.value_model import Observation
from autoaccel.spaces.space import SearchSpace
from autoaccel.techniques.registry import catalog
from autoaccel.tuner.loop import Loop

FULL = 100.0
"""Seconds of the longest useful training."""
LATE = "k"
"""The activation that is behind until its training is long."""


def small_space():
    """A dozen recipes."""
    data = {"schema": 2, "optimizer": {"adamw": {}}, "learning_rate": {"linear": {}},
            "batch_size": {"constant_batch": {}}}  # fmt: skip
    acts = {"act": Domain(options=tuple("abcdefghijkl"))}
    return SearchSpace.from_data(data, catalog(), read).with_model(acts, {"act": "a"})


def loss(request, progress):
    act = request.recipe.model.get("act", "a")
    length = request.budget.seconds / FULL
    late = 1.0 - 0.9 * length if act == LATE else 0.5 - 0.01 * "abcdefghijkl".index(act)
    return 1 + late + 0.1 * (max(progress, 0.1) * length) ** -0.3


def run(table, workers=1):
    clock = SimulatedClock(0.0)
    settings = SearchSettings(small_space(), Budget(seconds=12 * FULL), 0, longest=Budget(seconds=FULL))
    search = HalvingSearch(settings)
    Loop(search, TableExecutor(table, clock), clock).run([Profiled(FACTS, workers)])
    return search


@pytest.fixture(scope="module")
def search():
    return run(loss)


def test_no_recipe_is_trained_twice_for_as_long():
    """Neither while a trial is running, nor after one has failed."""

    def failing(request, progress):
        act, length = request.recipe.model.get("act", "a"), request.budget.seconds / FULL
        return math.nan if act in "bcd" and length > 0.2 else loss(request, progress)

    trials = run(failing, workers=4).trials
    had = [(r.request.recipe, round(r.request.budget.seconds, 3)) for r in trials.of(Purpose.SEARCH)]
    assert len(had) > 20 and len(set(had)) == len(had)
    kinds = {r.outcome.kind for r in trials if r.request.recipe.model.get("act") in ("b", "c", "d")}
    assert OutcomeKind.COMPLETE in kinds and kinds & {OutcomeKind.INFEASIBLE, OutcomeKind.FAILED}


def test_a_pruned_recipe_is_tried_again_where_there_are_no_others(search):
    late = [r for r in search.trials.of(Purpose.SEARCH) if r.request.recipe.model.get("act") == LATE]
    assert late[0].outcome.kind is OutcomeKind.PRUNED
    assert late[1].request.parent is None
    assert late[-1].request.budget.seconds == pytest.approx(FULL)
    assert search.best().request.recipe.model["act"] == LATE


def test_plain_is_not_trained_longer_only_because_nothing_else_is_left(search):
    full = [r.request.recipe for r in search.trials if r.purpose is Purpose.BASELINE
            and r.request.budget.seconds > 0.9 * FULL]  # fmt: skip
    assert len(full) <= 1


def test_a_recipe_that_is_not_known_well_has_more_hope_while_there_is_room():
    space = small_space()
    recipes = [space.sample(seed) for seed in range(8)]
    valuation = Valuation(space, FACTS, 0)
    valuation.update([Observation(recipe, 0.01, 1 + 0.01 * i) for i, recipe in enumerate(recipes)], 1.0)
    valuation.update([Observation(recipe, 0.01, 1 + 0.01 * i) for i, recipe in enumerate(recipes)]
                     + [Observation(recipes[0], 1.0, 0.9)], 1.0)  # fmt: skip
    assert valuation.hopes(1.0) == valuation.mean
    widths = [valuation.mean[r] - valuation.hopes(8.0)[r] for r in (recipes[0], recipes[-1])]
    assert 0 < widths[0] < widths[1]
    assert PLAIN["plain"] not in valuation.hopes(8.0)


def test_many_results_are_learned_from_together():
    space = small_space().with_model({"width": Domain(0.0, 1.0)}, {"width": 0.5})
    seen = [Observation(space.sample(i), 0.1, 1 + math.sin(i)) for i in range(303)]
    valuation = Valuation(space, FACTS, 0)
    valuation.update(seen[:300], 1.0)
    valuation.update(seen[:302], 1.0)
    assert len(valuation.mean) == 300
    valuation.update(seen[:302], 1.0, at_once=True)
    assert len(valuation.mean) == 302 and len(valuation.trusted) == 302
