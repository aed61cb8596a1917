"""Costs, budgets and everything that crosses a process: values that come back as they went."""

import copy
import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import TechniqueInfo
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.core.schedules import Schedule
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Report, TrialRequest
from autoaccel.errors import UsageError
from autoaccel.techniques.registry import catalog


def test_a_cost_is_zero_where_nothing_is_named():
    cost = Cost(seconds=1, joules=0.0)
    assert cost["flops"] == 0 and "flops" not in cost and cost.get("flops", 5) == 5
    assert cost == Cost(seconds=1) and hash(cost) == hash(Cost(seconds=1))
    assert cost + Cost(flops=2) - Cost(seconds=1) == Cost(flops=2)
    assert Cost(seconds=1, flops=4) | Cost(seconds=3) == Cost(seconds=3, flops=4)
    assert cost != {"seconds": 1} and cost != Budget(seconds=1) and Budget(seconds=1) != cost


@pytest.mark.parametrize("value", [Cost(seconds=1.5, joules=2.0), Budget(seconds=3, joules=4)])
def test_quantities_are_copied_and_pickled(value):
    assert copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize(
    "limits", [{"seconds": 0}, {"seconds": math.nan}, {"joules": -1}, {"seconds": "4h"}, {"seconds": True}, "4h"]
)
def test_budgets_that_make_no_sense_are_refused(limits):
    with pytest.raises(UsageError):
        Budget(limits)


RECIPE = Recipe(
    Choice("sgd", {"lr": Schedule(0.1, 0.01), "nesterov": True, "every": 3, "mode": "fast", "momentum": 0.0}),
    Choice("linear"),
    Choice("constant_batch", {"size": 32}),
    {"ema": {}},
    {"width": 16, "bias": False},
)


@pytest.mark.parametrize(
    "value",
    [
        RECIPE,
        TrialRequest(1, RECIPE, Budget(flops=1e9, joules=3.0), Purpose.FINAL, milestones=(0.5, 1.0), parent=0),
        Outcome(OutcomeKind.PRUNED, Cost(seconds=1.0), None, {}, "stopped"),
        TaskFacts("image", frozenset({"image"}), "accuracy", True, 10, 5, train=Cost(flops=2.0)),
        *catalog().values(),
    ],
    ids=lambda value: getattr(value, "name", type(value).__name__),
)
def test_values_cross_a_process_unchanged(value):
    """Types too: a batch size of 32 does not become 32.0, nor True 1."""
    again = from_data(type(value), json.loads(json.dumps(to_data(value))))
    assert again == value
    if not isinstance(value, TechniqueInfo | TaskFacts):  # the order of a set is not kept
        assert repr(again) == repr(value)
    else:
        assert repr(getattr(again, "parameters", 0)) == repr(getattr(value, "parameters", 0))


def test_what_is_not_finite_is_unknown():
    made = Report(3, 1, 1.0, 0.5, math.inf, math.nan, Cost(seconds=1.0, flops=2e9))
    assert made.loss is None and made.standard_error is None
    assert from_data(Report, json.loads(json.dumps(to_data(made), allow_nan=False))) == made
    assert Outcome(OutcomeKind.COMPLETE, test={"metric": 0.5, "standard_error": math.nan}).test == {
        "metric": 0.5,
        "standard_error": None,
    }
    with pytest.raises(ValueError, match="trial 3 reports the metric nan"):
        replace(made, metric=math.nan)


def test_a_recipe_of_numpys_numbers_is_written():
    recipe = Recipe(Choice("sgd", {"lr": np.float64(0.1), "every": np.int64(3)}))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert "0.1" in recipe.to_yaml() and "numpy" not in recipe.to_yaml()


def test_a_technique_may_be_switched_off_in_a_recipe():
    assert Recipe.from_yaml("techniques: {ema: false, swa: true, clip: }").techniques == {"swa": {}, "clip": {}}
    with pytest.raises(UsageError, match=r"techniques.ema = 0"):
        Recipe.from_yaml("techniques: {ema: 0}")
