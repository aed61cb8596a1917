"""Which trials are started in which places, without a cluster."""

from dataclasses import dataclass, field

import pytest

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import Purpose, TrialRequest

queueing = pytest.importorskip(
    "autoaccel.execution.ray.queueing", reason="Ray is not installed", exc_type=ImportError
)


@dataclass
class Place:
    """What is known of a place, without its actor."""

    name: str
    size: int
    up: bool = True
    expected: bool = True
    has: list = field(default_factory=list)

    @property
    def free(self):
        return self.size - sum(request.devices for request in self.has)


def request(trial, devices=1, **more):
    return TrialRequest(trial, PLAIN["plain"], Budget(seconds=60.0), devices=devices, **more)


def fill(places, *devices, now=0.0):
    """Start trials with so many devices each; return the names of their places, by number."""
    waiting = [queueing.Waiting(request(trial, count), 0.0) for trial, count in enumerate(devices)]
    started = {}
    for each, place in queueing.startable(waiting, places, now):
        place.has.append(each.placed(place.size, now)[0])
        started[each.request.trial] = place.name
    assert all(place.free >= 0 for place in places)
    return started


def test_small_trials_fill_a_place_before_the_next():
    assert fill([Place("a", 4), Place("b", 2)], *[1] * 7) == dict(enumerate("bbaaaa"))
    assert fill([Place("a", 2), Place("b", 2)], 1, 2, 1) == {0: "a", 1: "b", 2: "a"}


def test_one_that_needs_many_devices_has_a_place_for_itself_until_it_is_free():
    a, b = Place("a", 4, has=[request(8)]), Place("b", 4, has=[request(9), request(10)])
    assert fill([a, b], 4, 1, 1, 1) == {1: "b", 2: "b"}, "a is kept for the first one"
    a.has.clear()
    assert fill([a, b], 4, 1) == {0: "a"}


def test_others_go_on_while_a_large_place_is_yet_to_come():
    coming = Place("a", 4, up=False)
    assert fill([coming, Place("b", 2)], 4, 1, 2) == {1: "b"}


def test_it_is_not_waited_for_longer_than_a_small_part_of_the_budget():
    coming = Place("a", 4, up=False)
    assert fill([coming, Place("b", 2)], 4, now=0.05 * 60.0) == {}
    assert fill([coming, Place("b", 2)], 4, now=0.06 * 60.0) == {0: "b"}
    pace = queueing.Waiting(request(0, 4, purpose=Purpose.PACE), 0.0)
    assert pace.needs([coming, Place("b", 2)], 0.06 * 60.0) == 4, "what it measures decides about hours"


@pytest.mark.parametrize("large", [[], [Place("a", 4, up=False, expected=False)]])
def test_without_a_place_that_is_large_enough_a_trial_gets_what_there_is(large):
    assert fill([*large, Place("b", 2), Place("c", 1)], 4, 1) == {0: "b", 1: "c"}


def test_a_final_training_that_has_waited_ends_when_it_was_to_end():
    final = queueing.Waiting(request(0, purpose=Purpose.FINAL, carried=Cost(seconds=20.0)), 100.0)
    assert final.placed(1, 100.0) == (final.request, "")
    shorter, why = final.placed(1, 115.0)
    assert shorter.budget == Budget(seconds=45.0) and why.startswith("shorter by the 15")
    most = final.placed(1, 1000.0)[0]
    assert most.budget == Budget(seconds=20.0 + queueing.LEAST), "what it goes on with was spent"
    rescue = queueing.Waiting(request(0, purpose=Purpose.FINAL, rescue=True), 100.0)
    assert rescue.placed(1, 115.0) == (rescue.request, "")
    other = request(0)
    assert queueing.Waiting(other, 100.0).placed(1, 115.0) == (other, "")
    counted = TrialRequest(0, PLAIN["plain"], Budget(flops=1e9), Purpose.FINAL)
    assert queueing.Waiting(counted, 100.0).placed(1, 115.0) == (counted, "")


def test_what_is_placed_on_fewer_devices_says_so():
    wide = queueing.Waiting(request(0, 4, processes=4), 0.0)
    fewer, why = wide.placed(2, 0.0)
    assert (fewer.devices, fewer.processes) == (2, 2) and why == "on 2 of 4 devices, since no place has all"
    one_process = queueing.Waiting(request(0, 4), 0.0).placed(2, 0.0)[0]
    assert (one_process.devices, one_process.processes) == (2, 1)
