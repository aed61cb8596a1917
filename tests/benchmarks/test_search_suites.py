"""The suites of our own making: the recorded recipes as a table, the portfolio picked without the task, and late gains."""

import math
from pathlib import Path
from random import Random

import pytest

from autoaccel.core.recipe import PLAIN, Recipe
from benchmarks.search.methods import find
from benchmarks.search.record import RECORDED, read
from benchmarks.search.recorded import RECIPE, portfolio
from benchmarks.search.suites import LEVEL, PASSES, PAYS, SUITES
from benchmarks.search.trainings import RUNGS

NOWHERE = Path()


def rows(task, rung):
    """The first-seed rows of a rung by the recipe's name."""
    found = [row for row in read(RECORDED / f"{task}.jsonl")[1:] if (row["rung"], row["seed"]) == (rung, 0)]
    return {row["recipe"]: row for row in found}


@pytest.mark.parametrize("problem", SUITES["recorded"](NOWHERE), ids=lambda one: one.name)
def test_a_recorded_task_gives_what_was_recorded_and_judges_by_the_test_set(problem):
    assert problem.table.recipes[problem.default[RECIPE]] == PLAIN["plain"]
    sign = -1 if problem.table.facts.maximize else 1
    for rung, length in enumerate(RUNGS):
        for row in list(rows(problem.name, rung).values())[:5]:
            values = {RECIPE: problem.table.recipes.index(Recipe.from_flat(row["flat"]))}
            end = sign * row["curve"][-1]["metric"] if row["curve"] else math.nan
            assert problem.loss(values, length) == pytest.approx(end, nan_ok=True)
            tested = sign * row["test"]["metric"] if row["test"] else math.nan
            assert problem.judge(values, length) == pytest.approx(tested, nan_ok=True)
    between = problem.loss(problem.default, 0.6)
    ends = sorted(problem.loss(problem.default, length) for length in (1 / 3, 1.0))
    assert ends[0] <= between <= ends[1]


def test_a_portfolio_is_picked_without_the_task_and_its_first_recipe_is_the_default():
    problems = portfolio(NOWHERE)
    assert {problem.name for problem in problems} == {
        "digits",
        "fashion",
        "speech",
        "cifar",
        "satimage",
        "letter",
        "bank",
    }
    for problem in problems:
        shipped = list(problem.table.space.portfolio.values())
        assert shipped[0] == problem.table.recipes[problem.default[RECIPE]]
        assert [problem.table.recipes[values[RECIPE]] for values in problem.known] == [*shipped[1:], PLAIN["plain"]]


@pytest.mark.parametrize("name", ["random", "one-epoch", "asha", "hyperband", "tpe", "tpe-hyperband"])
def test_peers_begin_with_the_portfolio_and_draw_from_the_table(name):
    problem = next(one for one in portfolio(NOWHERE) if one.name == "letter")
    values, length, _ = find(name)(problem, 20.0, 0)
    assert problem.regret(values, length) <= problem.regret(problem.default, 1.0)
    assert find(name)(problem, 1.0, 0)[0] == problem.default


@pytest.mark.parametrize("suite", ["recorded", "portfolio"])
def test_our_search_draws_from_the_table_too(suite):
    problem = next(one for one in SUITES[suite](NOWHERE) if one.name == "letter")
    values, length, _ = find("autoaccel")(problem, 4.0, 0)
    assert values[RECIPE] in problem.domains[RECIPE].options and length > 0.9
    assert find("autoaccel")(problem, 1.0, 0)[0] == problem.default


def test_late_regularization_costs_first_makes_no_difference_then_and_pays_in_the_end():
    problem = SUITES["late"](NOWHERE)[0]
    best = {**problem.sample(Random(0)), "regularization": 0.7}
    gains = [
        problem.judge({**best, "regularization": 0.0}, length) - problem.judge(best, length)
        for length in (1 / 27, LEVEL / PASSES, 1.0)
    ]
    assert gains[0] < 0 and gains[1] == pytest.approx(0.0, abs=1e-9) and gains[2] == pytest.approx(PAYS)
