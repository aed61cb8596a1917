"""The one training of `train`: when it is started, started again, and given up."""

from dataclasses import replace

import pytest

from autoaccel.core.budget import Budget
from autoaccel.core.events import (
    Finish,
    FinishEarly,
    Finished,
    Interrupted,
    Preempt,
    Proceed,
    Reported,
    Start,
    Tick,
)
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Report, TrialRequest
from autoaccel.search.single import Single

REQUEST = TrialRequest(0, PLAIN["plain"], Budget(seconds=100.0), Purpose.FINAL, milestones=())
KEPT = Cost(seconds=30.0, steps=300.0)


def begun(**changes):
    search = Single(replace(REQUEST, **changes), reserve=1.0)
    return search, started(search, Tick(), 9.0)


def started(search, event, now):
    actions = search.handle(event, now)
    (start,) = [action.request for action in actions if isinstance(action, Start)]
    return start


def ended(search, event, now):
    return Finish() in search.handle(event, now)


def lost(trial, saved=KEPT):
    return Finished(trial, Outcome(OutcomeKind.LOST, Cost(seconds=40.0, steps=400.0), saved=saved))


def test_it_has_what_is_left_when_it_starts():
    search, request = begun()
    assert request.budget == Budget(seconds=90.0) and request.trial == 0
    report = Report(0, 0, 0.5, 0.9, 0.1, None, Cost(seconds=45.0))
    assert Proceed(0) in search.handle(Reported(report), 50.0)
    assert ended(search, Finished(0, Outcome(OutcomeKind.COMPLETE, Cost(seconds=89.0))), 99.0)


def test_one_whose_process_dies_goes_on_with_what_is_left_from_its_checkpoint():
    search, _ = begun()
    again = started(search, lost(0), 49.0)
    assert (again.trial, again.resumes, again.carried) == (1, 0, KEPT)
    assert again.budget == Budget(seconds=30.0 + 50.0)
    # What it carries is of the checkpoint of the first, until it has made its own.
    third = started(search, lost(1, saved=Cost()), 69.0)
    assert (third.trial, third.resumes, third.carried) == (2, 0, KEPT) and third.budget == Budget(seconds=60.0)


def test_a_budget_of_steps_is_that_of_the_whole():
    search, request = begun(budget=Budget(steps=1000))
    assert request.budget == Budget(steps=1000)
    assert started(search, lost(0), 1e6).budget == Budget(steps=1000)


def test_without_a_checkpoint_it_begins_again():
    search, _ = begun(budget=Budget(steps=1000))
    again = started(search, lost(0, saved=Cost()), 49.0)
    assert again == replace(REQUEST, trial=1, budget=Budget(steps=1000))


def test_it_is_given_up_where_it_dies_three_times_without_getting_further():
    search, _ = begun(budget=Budget(steps=1000))
    for trial in range(2):
        assert not ended(search, lost(trial), 10.0 + trial)
    assert not ended(search, lost(2, Cost(seconds=50.0, steps=500.0)), 20.0)
    assert not ended(search, lost(3, saved=Cost()), 21.0)
    assert ended(search, lost(4, saved=Cost()), 22.0)


@pytest.mark.parametrize("now", [99.5, 150.0])
def test_nothing_follows_when_the_time_is_over(now):
    search, _ = begun()
    assert ended(search, lost(0), now)


def test_of_a_budget_that_is_too_small_the_training_says_so():
    search = Single(replace(REQUEST, budget=Budget(seconds=5.0)), reserve=1.0)
    assert started(search, Tick(), 9.0).budget == Budget(seconds=5.0)


@pytest.mark.parametrize(("preempted", "asked"), [(False, FinishEarly(0)), (True, Preempt(0))])
def test_asked_to_end_it_is_not_started_again(preempted, asked):
    search, _ = begun()
    assert asked in search.handle(Interrupted(preempted), 20.0)
    stopped = Finished(0, Outcome(OutcomeKind.PREEMPTED, Cost(seconds=11.0), saved=KEPT))
    assert ended(search, stopped, 21.0)


def test_asked_to_end_before_it_has_begun():
    search = Single(REQUEST, reserve=1.0)
    assert search.handle(Interrupted(), 1.0) == [Finish()]
