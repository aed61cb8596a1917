"""The CPUs are divided among as many trials as finish most plain steps."""

import pytest

from autoaccel.core.facts import TaskFacts
from autoaccel.core.machine import Machine
from autoaccel.core.quantities import Cost
from autoaccel.core.resources import Resources
from autoaccel.execution.local.sizing import Paced, choose, slower

FACTS = TaskFacts(
    "table", frozenset(), "accuracy", True, 1000, 100, train=Cost(seconds=1e-4), setup=Cost(seconds=0.2)
)


@pytest.fixture(autouse=True)
def no_limit(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def chosen(pace, cpus=8, choosing=100.0, available=1e12, facts=FACTS):
    """Return the number of trials, how much slower they are, and the counts that were measured with their seconds."""
    asked = []

    def measure(slots, seconds):
        asked.append((slots.count, slots.threads, seconds))
        found = pace(slots.count)
        return found if isinstance(found, Paced) else Paced([found] * slots.count)

    slots, times = choose(Resources(choosing=choosing), Machine((), cpus), facts, available, measure)
    return slots.count, times, asked


def test_where_threads_are_no_use_each_cpu_gets_a_trial():
    count, times, asked = chosen(lambda count: 0.01)
    assert (count, times) == (8, 1.0)
    assert [each[:2] for each in asked] == [(1, 8), (2, 4), (4, 2), (8, 1)]
    assert sum(seconds for *_, seconds in asked) <= 100.0


def test_where_threads_are_of_full_use_there_is_one_trial():
    count, times, asked = chosen(lambda count: 0.01 * count)
    assert (count, times) == (1, 1.0)
    assert len(asked) == 2


def test_in_between_the_steps_are_slower_and_there_are_more_of_them():
    count, times, _ = chosen(lambda count: {1: 0.01, 2: 0.012, 4: 0.016, 8: 0.05}[count])
    assert count == 4
    assert times == pytest.approx(1.6)


def test_a_small_gain_is_no_reason():
    assert chosen(lambda count: 0.01 * count / 1.05)[0] == 1


def test_if_time_is_short_only_the_ends_are_compared_or_nothing():
    assert [each[0] for each in chosen(lambda count: 0.01, choosing=2.5)[2]] == [1, 8]
    assert chosen(lambda count: 0.01, choosing=0.5) == (1, 1.0, [])


def test_trials_that_would_not_fit_into_memory_are_not_tried():
    count, _, asked = chosen(lambda count: Paced([0.01] * count, memory=3e9), available=16e9)
    assert count == 2
    assert [each[0] for each in asked] == [1, 2]


def test_what_cannot_be_trained_side_by_side_is_not():
    assert chosen(lambda count: 0.01 if count == 1 else 0.0)[0] == 1
    assert chosen(lambda count: 0.0)[:2] == (1, 1.0)


def test_one_cpu_is_not_divided():
    assert chosen(lambda count: 0.01, cpus=1) == (1, 1.0, [])


def test_slower_facts_cost_more_seconds_and_nothing_else():
    facts = slower(FACTS, 2.0)
    assert facts.train == Cost(seconds=2e-4)
    assert facts.setup.seconds == 0.4
    assert facts.n_train == FACTS.n_train


def test_a_long_budget_is_no_reason_to_measure_for_hours():
    assert max(seconds for *_, seconds in chosen(lambda count: 0.01, choosing=26_000.0)[2]) < 10
