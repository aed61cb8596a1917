"""Budgets, schedules, recipes and spaces, which need no torch."""

import subprocess
import sys
from dataclasses import replace

import pytest
from autoaccel.search_spaces import names, read
from hypothesis import given
from hypothesis import strategies as st

from autoaccel.core.budget import Budget, parse_budget, parse_flops
from autoaccel.core.catalog import check
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN, Choice, Recipe
from autoaccel.core.schedules import Schedule, half_life_decay
from autoaccel.errors import UsageError
from autoaccel.spaces.space import SearchSpace
from autoaccel.spaces.space import SearchSpace as Space
from autoaccel.techniques.registry import catalog


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("4h", {"seconds": 14400}),
        ("90m", {"seconds": 5400}),
        ("1d12h", {"seconds": 129600}),
        ("PT4H", {"seconds": 14400}),
        ("2e18 FLOPs", {"flops": 2e18}),
        ("5 PFLOP", {"flops": 5e15}),
        ("90s or 1 TFLOPs", {"seconds": 90, "flops": 1e12}),
    ],
)
def test_budgets_are_read(text, limits):
    assert parse_budget(text) == limits


@pytest.mark.parametrize(
    "text", ["4", "-4h", "inf", "nan", "0s", "４h", "", "1e999 FLOPs", "four hours", "0 FLOPs"]
)
def test_bad_budgets_are_refused(text):
    with pytest.raises(UsageError):
        parse_budget(text)


def test_flops_flag_is_a_number():
    assert parse_flops("2e18") == 2e18
    with pytest.raises(UsageError):
        parse_flops("4h")


def test_share_is_the_largest_of_the_limits():
    assert Budget(seconds=10, flops=100).share(Cost(seconds=1, flops=50)) == 0.5


def test_schedule_at_start_middle_and_end():
    schedule = Schedule(1.0, 3.0, since=0.2, until=0.8)
    assert [schedule(p) for p in (0.0, 0.2, 0.5, 0.8, 1.0)] == pytest.approx([1, 1, 2, 3, 3])
    with pytest.raises(ValueError, match="since <= until"):
        Schedule(0, 1, since=0.9, until=0.1)


@given(st.floats(0.001, 1.0), st.integers(1, 50))
def test_half_life_does_not_depend_on_the_number_of_steps(half_life, steps):
    one = half_life_decay(half_life, 0.5)
    many = half_life_decay(half_life, 0.5 / steps) ** steps
    assert many == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("name", names())
def test_flat_form_is_a_bijection_for_every_space(name):
    space = SearchSpace.load(name)
    for seed in range(50):
        recipe = space.sample(seed)
        assert Recipe.from_flat(recipe.flat()) == recipe
        assert Recipe.from_yaml(recipe.to_yaml()) == recipe
        assert check(recipe.chosen(), catalog()) == []


def test_schedules_survive_yaml_and_the_flat_form():
    recipe = Recipe(batch_size=Choice("constant_batch", {"size": Schedule(16, 64)}))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_flat(recipe.flat()) == recipe


def test_every_fault_of_a_recipe_is_named_at_once():
    with pytest.raises(UsageError) as error:
        Recipe.from_yaml("optimiser: adamw\nmodel: 3\nlearning_rate: [1]\n", "r.yaml")
    assert "3 problems" in str(error.value)
    assert "did you mean 'optimizer'?" in str(error.value)


def test_yaml_aliases_are_refused():
    with pytest.raises(UsageError, match="aliases"):
        Recipe.from_yaml("a: &x 1\nb: *x\n")


def test_unknown_names_in_a_space_get_a_suggestion():
    data = {"extends": "vision", "optimizer": {"adamw": {"wait_decay": 0.1}}}
    with pytest.raises(UsageError, match="did you mean 'weight_decay'"):
        Space.from_data(data, catalog(), read, "mine.yaml")


def test_a_space_can_be_extended_and_a_parameter_fixed():
    data = {
        "extends": "vision",
        "optimizer": {"adamw": {"lr": 0.003}},
        "batch_size": {"constant_batch": {"size": 32}},
    }
    space = Space.from_data(data, catalog(), read, "mine.yaml")
    for seed in range(20):
        recipe = space.sample(seed)
        assert recipe.optimizer.name == "adamw"
        assert recipe.optimizer.parameters["lr"] == 0.003
        assert recipe.batch_size.parameters["size"] == 32


def test_a_missing_extra_leaves_its_branch_out_and_says_how_to_get_it():
    """As after the README's first install command, which installs no extras."""
    missing = ("structured_pruning", "trivial_augment")
    bare = {**catalog(), **{name: replace(catalog()[name], available=False) for name in missing}}
    data = {
        "extends": "vision",
        "techniques": {name: {} for name in missing},
        "portfolio": {"pruned": {"techniques": {"structured_pruning": {}}}, "kept": {"techniques": {"ema": {}}}},
    }
    space, notes = Space.from_data(data, bare, read, "mine.yaml").for_task(
        {"image", "continuous", "convolutions", "whole_targets"}
    )
    assert not set(missing) & set(space.techniques)
    assert list(space.portfolio) == ["kept"]
    assert sorted(notes) == [
        "left out: structured_pruning; pip install 'autoaccel[compress]' to search that too",
        "left out: trivial_augment; pip install 'autoaccel[image]' to search that too",
    ]


def test_plain_recipes_are_valid():
    for recipe in PLAIN.values():
        assert check(recipe.chosen(), catalog()) == []


@pytest.mark.parametrize(
    "module", ["autoaccel.search.halving", "autoaccel.cli", "autoaccel.execution.local.supervisor"]
)
def test_no_torch_without_training(module):
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
