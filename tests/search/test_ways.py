"""The final training has as many devices as make its steps faster."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoaccel.core.budget import Budget
from autoaccel.core.events import Finished, Start
from autoaccel.core.recipe import PLAIN
from autoaccel.core.records import Trials
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, TrialRequest
from autoaccel.search.ways import Paces, Way, ways

RECIPE, OTHER = PLAIN["plain"], PLAIN["plain_constant"]


class Measured:
    """Trials that have measured ways."""

    def __init__(self):
        self.trials = Trials()

    def add(self, way, pace=1.0, kind=OutcomeKind.COMPLETE, recipe=RECIPE):
        number = len(self.trials)
        request = TrialRequest(
            number, recipe, Budget(seconds=1.0), Purpose.PACE, devices=way.devices, processes=way.processes
        )
        self.trials.handle(Start(request), 0.0)
        self.trials.handle(Finished(number, Outcome(kind, pace=pace)), 1.0)

    def run(self, options, seconds, timed=True):
        """Measure until enough is known; return what was measured, and what is known."""
        asked = []
        while way := Paces(self.trials, RECIPE, options, timed).missing():
            asked.append(way)
            found = seconds(way)
            works = found < math.inf
            self.add(way, found if works else 0.0, OutcomeKind.COMPLETE if works else OutcomeKind.FAILED)
        return asked, Paces(self.trials, RECIPE, options, timed)


def test_ways_of_gpus_halve_and_those_of_cpus_are_one_process_or_many():
    assert ways(8, gpus=True) == tuple(Way(n, n) for n in (1, 2, 4, 8))
    assert ways(6, gpus=True) == tuple(Way(n, n) for n in (1, 3, 6))
    assert ways(1, gpus=True) == ways(1, gpus=False) == (Way(1, 1),)
    assert ways(4, gpus=False) == (Way(4, 1), Way(4, 4))


def test_a_single_way_is_not_measured():
    asked, known = Measured().run(ways(1, True), lambda way: 1.0)
    assert (asked, known.best(), known.speed()) == ([], Way(), 1.0)


def test_where_all_devices_are_faster_than_half_of_them_no_more_is_measured():
    asked, known = Measured().run(ways(8, True), lambda way: 8.0 / way.devices)
    assert asked == [Way(8, 8), Way(4, 4)]
    assert known.best() == Way(8, 8)
    assert known.speed() == 8.0


def test_where_more_are_slower_it_falls_back():
    asked, known = Measured().run(
        ways(8, True), lambda way: [None, 1.0, 0.6, None, 0.9, None, None, None, 2.0][way.devices]
    )
    assert asked == [Way(8, 8), Way(4, 4), Way(2, 2), Way(1, 1)]
    assert known.best() == Way(2, 2)
    assert known.speed() == pytest.approx(1 / 0.6)


@pytest.mark.parametrize("timed", [True, False])
def test_what_does_not_work_in_several_processes_runs_in_one(timed):
    _, known = Measured().run(ways(4, True), lambda way: 1.0 if way.processes == 1 else math.inf, timed)
    assert known.best() == Way(1, 1)


def test_a_small_gain_is_not_worth_more_devices():
    _, known = Measured().run(ways(2, True), lambda way: 1.0 if way.devices == 1 else 0.99)
    assert known.best() == Way(1, 1)


def test_where_time_must_not_decide_as_many_share_a_batch_as_can():
    asked, known = Measured().run(ways(8, True), lambda way: math.inf if way.devices == 8 else 9.0, timed=False)
    assert asked == [Way(8, 8), Way(4, 4)]
    assert known.best() == Way(4, 4)


def test_a_way_whose_process_died_is_tried_once_more():
    measured = Measured()
    options = ways(2, True)
    measured.add(Way(2, 2), kind=OutcomeKind.LOST)
    assert Paces(measured.trials, RECIPE, options).missing() == Way(2, 2)
    measured.add(Way(2, 2), kind=OutcomeKind.LOST)
    assert Paces(measured.trials, RECIPE, options).missing() == Way(1, 1)


def test_what_another_recipe_takes_says_nothing():
    measured = Measured()
    measured.add(Way(2, 2), recipe=OTHER)
    assert Paces(measured.trials, RECIPE, ways(2, True)).missing() == Way(2, 2)


def test_where_nothing_was_measured_gpus_train_as_in_the_search_and_cpus_in_one_process():
    assert Paces(Trials(), RECIPE, ways(8, True)).best() == Way(1, 1)
    known = Paces(Trials(), RECIPE, ways(4, False))
    assert (known.best(), known.speed()) == (Way(4, 1), 4.0)


@given(st.integers(1, 64), st.booleans(), st.data())
def test_the_best_is_never_slower_than_the_one_with_the_fewest_processes(count, gpus, data):
    options = ways(count, gpus)
    seconds = {way: data.draw(st.sampled_from([0.1, 0.5, 1.0, 2.0, math.inf])) for way in options}
    asked, known = Measured().run(options, seconds.get)
    assert len(asked) == len(set(asked))
    first = options[0]
    if first in asked and seconds[first] < math.inf:
        assert seconds[known.best()] <= seconds[first]
