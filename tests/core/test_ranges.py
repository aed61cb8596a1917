"""Values that make no sense are refused by name, value and what is accepted; unusual ones are not."""

from __future__ import annotations

import pytest

from autoaccel.core.catalog import check, misplaced
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.schedules import Schedule
from autoaccel.errors import UsageError
from autoaccel.spaces.domains import read_domain
from autoaccel.spaces.space import SearchSpace
from autoaccel.techniques.registry import catalog

NONSENSE = {
    ("adamw", "lr", -1): "more than 0",
    ("adamw", "lr", 0): "more than 0",
    ("adamw", "lr", "1:30"): "not a number",
    ("adamw", "lr", float("nan")): "not finite",
    ("adamw", "lr", Schedule(0.1, -0.1)): "lr.end = -0.1 makes no sense; accepted is at least 0",
    ("adamw", "weight_decay", -0.1): "at least 0",
    ("adamw", "beta1", 1.5): "at most 1",
    ("constant_batch", "size", 0): "at least 1",
    ("constant_batch", "size", 1e23): "at most 2147483647",
    ("constant_batch", "size", 10**400): "beyond 2^63",
    ("constant_batch", "size", 2.5): "whole number",
    ("linear", "warmup", 2): "at most 1",
    ("ema", "half_life", 0): "more than 0",
    ("label_smoothing", "eps", 1.1): "at most 1",
}
UNUSUAL = [
    ("adamw", "lr", 7.0),
    ("adamw", "lr", Schedule(0.1, 0.0)),
    ("adamw", "weight_decay", 0),
    ("adamw", "weight_decay", 3),
    ("constant_batch", "size", 1),
    ("constant_batch", "size", 8192),
    ("mixup", "alpha", 4.0),
    ("focal", "gamma", 0),
]


@pytest.mark.parametrize("case", NONSENSE, ids=str)
def test_what_makes_no_sense_is_refused(case):
    name, key, value = case
    (fault,) = check({name: {key: value}}, catalog())
    assert fault.startswith(f"{name}.{key}") and NONSENSE[case] in fault and "\n" not in fault


@pytest.mark.parametrize("case", UNUSUAL, ids=str)
def test_what_is_only_unusual_is_accepted(case):
    name, key, value = case
    assert not check({name: {key: value}}, catalog())


def test_all_defaults_and_ranges_make_sense():
    for info in catalog().values():
        for name, parameter in info.parameters.items():
            domain = parameter.domain
            for value in domain.options or (domain.low, domain.high):
                assert parameter.fault(value) is None, (info.name, name)
            assert not check({info.name: {name: parameter.default}}, {info.name: info})


def test_each_technique_has_its_place():
    data = {**PLAIN["plain"].to_data(), "learning_rate": "constant_batch", "techniques": {"sgd": {}, "ema": {}}}
    recipe = Recipe.from_data(data)
    assert misplaced(recipe.components(), recipe.techniques, catalog()) == [
        "learning_rate: constant_batch is none",
        "techniques.sgd: is one of optimizer, of which there is just one",
    ]
    space = {"optimizer": {"adamw": {}}, "learning_rate": {"linear": {}}, "batch_size": {"constant_batch": {}}}
    with pytest.raises(
        UsageError, match=r"mine: 2 problems\n  portfolio.odd: learning_rate: constant_batch is none"
    ):
        SearchSpace.from_data({**space, "portfolio": {"odd": data}}, catalog(), dict, "mine")


def test_a_space_is_refused_for_the_same_values():
    data = {
        "optimizer": {"adamw": {"lr": {"low": -1, "high": 0.1}, "weight_decay": [0.1, -3]}},
        "learning_rate": {"linear": {"warmup": 3}},
        "batch_size": {"constant_batch": {"size": {"low": 1, "high": 10**18, "log": True, "integer": True}}},
    }
    with pytest.raises(UsageError) as caught:
        SearchSpace.from_data(data, catalog(), dict, "mine")
    faults = str(caught.value).splitlines()
    assert faults[0] == "mine: 4 problems" and len(faults) == 5


@pytest.mark.parametrize(
    "data",
    [
        (0, float("inf")),
        {"low": True, "high": 3},
        {"low": 1, "high": 3, "log": "no"},
        {"low": 1, "high": 2.5, "integer": True},
        (1, 10**400),
    ],
    ids=str,
)
def test_a_range_has_two_finite_ends(data):
    with pytest.raises(ValueError, match=r"must be true|needs"):
        read_domain(data)


@pytest.mark.parametrize(
    "part", [{"start": "x"}, {"end": float("nan")}, {"since": "0"}, {"until": True}, {"shape": 3}]
)
def test_the_parts_of_a_schedule_are_numbers(part):
    data = {"name": "adamw", "lr": {"start": 1.0, "end": 0.0, **part}}
    with pytest.raises(UsageError, match=r"optimizer\.lr"):
        Recipe.from_data({**PLAIN["plain"].to_data(), "optimizer": data})
