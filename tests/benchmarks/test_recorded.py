"""The recorded trainings: which recipes, in which order, and what is concluded from them."""

import itertools
import json

import numpy as np
import pytest

from autoaccel.core.codec import to_data
from autoaccel.core.facts import TaskFacts
from autoaccel.core.recipe import PLAIN
from autoaccel.spaces.space import SearchSpace
from autoaccel.training.data.capabilities import CAPABILITIES
from benchmarks.search.portfolio import best_of, greedy, load
from benchmarks.search.record import RECORDED, fitting, read, recipes
from benchmarks.search.record_tasks import TASKS
from benchmarks.search.resume_or_restart import cost, halving
from benchmarks.search.steady import SteadyClock


def some_facts(capabilities):
    return TaskFacts("image", frozenset(capabilities), "accuracy", True, 100, 20)


def test_the_list_of_recipes_is_always_the_same_and_starts_with_what_is_known():
    space = SearchSpace.load("vision")
    one, two = (list(itertools.islice(recipes(space), 30)) for _ in range(2))
    assert one == two
    assert [origin.key for origin in one[:2]] == list(PLAIN)
    assert [origin.key for origin in one[2:11]] == [f"portfolio {name}" for name in space.portfolio]
    assert {origin.key.split()[0] for origin in one[11:]} == {"random", "mutation"}


def test_a_recipe_that_needs_what_a_task_lacks_is_left_out_there():
    space = SearchSpace.load("vision")
    mirrored = fitting(space, some_facts(CAPABILITIES), 40)
    not_mirrored = fitting(space, some_facts(set(CAPABILITIES) - {"flips"}), 40)
    assert len(mirrored) == len(not_mirrored) == 40
    assert any("flip" in origin.recipe.techniques for origin in mirrored)
    assert not any("flip" in origin.recipe.techniques for origin in not_mirrored)
    shared = {origin.key: origin.recipe for origin in mirrored if not origin.key.startswith("portfolio")}
    assert all(shared[o.key] == o.recipe for o in not_mirrored if o.key in shared)


def trial(recipe, rung, metric):
    return {
        "recipe": recipe,
        "rung": rung,
        "seed": 0,
        "outcome": "complete" if metric is not None else "infeasible",
        "curve": [{"metric": metric}] if metric is not None else [],
        "test": {"metric": metric, "standard_error": 0.001} if metric is not None else {},
        "flat": {"optimizer": "adamw"},
    }


@pytest.fixture
def outcomes(tmp_path):
    scores = {
        "digits": {"plain": 0.5, "portfolio a": 0.9, "random 0": 0.4, "random 1": 0.8},
        "fashion": {"plain": 0.5, "portfolio a": None, "random 0": 0.9, "random 1": 0.8},
    }
    for task, found in scores.items():
        head = {"task": task, "space": "vision", "budgets": [1.0, 3.0], "facts": to_data(some_facts([]))}
        lines = [head, *(trial(key, rung, metric) for key, metric in found.items() for rung in (0, 1))]
        (tmp_path / f"{task}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return load("vision", tmp_path)


def test_regret_is_zero_for_the_best_one_for_plain_and_two_for_what_failed(outcomes):
    assert np.allclose(outcomes.regret[:, 0], [[1.0, 0.0, 1.25, 0.25], [1.0, 2.0, 0.0, 0.25]])


def test_a_portfolio_takes_the_recipe_that_is_good_everywhere_first_and_then_what_it_lacks(outcomes):
    keys = list(outcomes.recipes)
    chosen = greedy(outcomes, (0, 1), 3, (1, 2, 3))
    assert [keys[place] for place in chosen][:1] == ["random 1"]
    assert best_of(outcomes, chosen).max() == 0.0
    assert [keys[place] for place in greedy(outcomes, (0,), 1, (1, 2, 3))] == ["portfolio a"]


def test_halving_keeps_a_third_on_every_rung():
    values = np.array(
        [[3, 9, 9], [2, 2, 2], [1, 8, 8], [4, 1, 0], [5, 0, 0], [6, 0, 0], [7, 0, 0], [8, 0, 0], [9, 0, 0]]
    )
    assert halving(values, 9, np.arange(9)) == 1


def test_resuming_pays_the_difference_and_a_branch_its_cooldown():
    counts, budgets = (9, 3, 1), (1.0, 3.0, 9.0)
    assert cost("restart", counts, budgets) == 27.0
    assert cost("truncated", counts, budgets) == 9 + 6 + 6 + 0.15 * 9
    assert cost("branch", counts, budgets) == pytest.approx(21 + 0.15 * 27)


def test_the_clock_goes_slower_when_the_same_work_takes_longer(monkeypatch):
    used, speed = [0.0], [1.0]
    monkeypatch.setattr("benchmarks.search.steady.time.process_time", lambda: used[0])

    def compute(amount):
        used[0] += amount / speed[0]

    clock = SteadyClock(lambda: compute(0.001))
    assert clock.nominal == pytest.approx(0.001)
    compute(1.0)
    assert clock.now() == pytest.approx(1.0)
    speed[0] = 0.5  # others use the caches
    for _ in range(1000):
        compute(0.01)
        clock.now()
    assert clock.now() == pytest.approx(11.0, rel=0.02)


@pytest.mark.parametrize("name", TASKS)
def test_plain_and_the_known_good_recipes_are_recorded_on_all_rungs_of_every_task(name):
    head, *trials = read(RECORDED / f"{name}.jsonl")
    found = {(row["recipe"], row["rung"]) for row in trials if row["curve"]}
    portfolio = [f"portfolio {known}" for known in SearchSpace.load(head["space"]).portfolio]
    assert found >= set(itertools.product([*PLAIN, *portfolio], range(len(head["budgets"]))))
    above = [row for row in trials if row["curve"] and row["rung"]]
    shares = [row["cost"]["seconds"] / head["budgets"][row["rung"]] for row in above]
    assert min(shares) > 0.9 and max(shares) < 1.1
