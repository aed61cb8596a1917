"""Final trainings that are cut off: their best weights are delivered, if they were far enough and there is time."""

from dataclasses import replace

import pytest
from simulation import FACTS, Book, make, quality

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Extended, Finish, Finished, Profiled, Reported, Start, Tick
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Report, TrialRequest
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.single import Single
from autoaccel.tuner.loop import Loop


class Cut(TableExecutor):
    """Ends final trainings at some progress, as hung; their checkpoint is of their last evaluation before."""

    def __init__(self, clock, at, late=0.0):
        super().__init__(quality, clock)
        self._at, self._late = at, late

    def start(self, request):
        if request.purpose is not Purpose.FINAL:
            return super().start(request)
        if request.rescue:
            report = Report(request.trial, 0, 0.5, 1.0, 1.0, 0.0, request.carried)
            outcome = Outcome(OutcomeKind.COMPLETE, request.carried, report, reason="cut off")
            return self._push(1.0, Finished(request.trial, outcome))
        whole, saved = request.budget.seconds, Cost()
        for index, p in enumerate(request.milestones):
            if p <= self._at:
                saved = replace_steps(self._cost(whole * p))
                self._push(whole * p, Reported(Report(request.trial, index, p, 1.5, 1.5, 0.0, saved)))
        ends = whole * self._at + self._late * whole
        cost = replace_steps(self._cost(ends))
        if self._at > 1.0:
            done = Report(request.trial, 9, 1.0, 1.0, 1.0, 0.0, cost)
            return self._push(
                whole, Finished(request.trial, Outcome(OutcomeKind.COMPLETE, self._cost(whole), done))
            )
        return self._push(
            ends, Finished(request.trial, Outcome(OutcomeKind.TIMED_OUT, cost, reason="hung", saved=saved))
        )


def replace_steps(cost):
    return cost.replace(steps=100 * cost.seconds)


def run(at, late=0.0, budget=Budget(seconds=3000)):  # noqa: B008 - a frozen value
    clock, search = SimulatedClock(2.0), make(budget)
    Loop(search, Cut(clock, at, late), clock, [Book()]).run([Profiled(FACTS, 1)])
    return search, clock


def test_its_best_weights_are_delivered_instead_of_another_training():
    search, clock = run(0.8)
    first, second = search.trials.of(Purpose.FINAL)
    assert second.request.rescue and second.request.recipe == first.request.recipe
    assert second.request.resumes == first.number and second.request.carried == first.outcome.saved
    assert search.final() == second and clock.now() < 3000


def test_one_that_had_just_begun_gives_way_to_another_recipe():
    search, _ = run(0.2)
    assert not any(record.request.rescue for record in search.trials)
    assert len(search.trials.of(Purpose.FINAL)) == 2


def test_it_ends_in_time():
    search, clock = run(0.8, late=0.195)
    (_, second) = search.trials.of(Purpose.FINAL)
    assert second.request.rescue and clock.now() < 3000


def test_where_there_is_no_time_what_the_search_has_is_delivered():
    search, _ = run(0.8, late=0.3)
    assert len(search.trials.of(Purpose.FINAL)) == 1 and search.best() is not None


SINGLE = TrialRequest(
    0, PLAIN["plain"], Budget(seconds=100.0), Purpose.FINAL, milestones=(0.3, 0.6, 1.0), keep_best=True
)


def single(progress):
    """A training with one evaluation whose time is over when its process dies."""
    search = Single(SINGLE, reserve=1.0)
    search.handle(Tick(), 0.0)
    cost = Cost(seconds=60.0, steps=600.0)
    search.handle(Reported(Report(0, 0, progress, 0.9, 0.1, None, cost)), 60.0)
    return search.handle(Finished(0, Outcome(OutcomeKind.LOST, Cost(seconds=99.5), saved=cost)), 99.5)


def test_a_single_training_is_delivered_too():
    (start, _) = single(0.6)
    assert isinstance(start, Start) and start.request.rescue
    assert start.request.budget == Budget(seconds=120.0) and start.request.resumes == 0
    assert Finish() in single(0.4)


@pytest.mark.parametrize("changes", [{"keep_best": False}, {"purpose": Purpose.SEARCH}])
def test_only_what_keeps_its_best_weights_has_any(changes):
    search = Single(replace(SINGLE, **changes), reserve=1.0)
    search.handle(Tick(), 0.0)
    cost = Cost(seconds=60.0, steps=600.0)
    search.handle(Reported(Report(0, 0, 0.6, 0.9, 0.1, None, cost)), 60.0)
    over = Finished(0, Outcome(OutcomeKind.LOST, Cost(seconds=99.5), saved=cost))
    assert Finish() in search.handle(over, 99.5)


def test_what_was_cut_off_itself_is_tried_again():
    """A resumed session, after a kill while the weights were being delivered."""
    search = Single(SINGLE, reserve=1.0)
    search.handle(Tick(), 0.0)
    cost = Cost(seconds=60.0, steps=600.0)
    search.handle(Reported(Report(0, 0, 0.6, 0.9, 0.1, None, cost)), 60.0)
    search.handle(Finished(0, Outcome(OutcomeKind.LOST, Cost(seconds=99.5), saved=cost)), 99.5)
    search.resume()
    killed = Outcome(OutcomeKind.PREEMPTED, Cost(seconds=60.5), reason="the run was killed")
    for trial in range(1, 4):
        (start, _) = search.handle(Finished(trial, killed), 100.0)
        assert start.request.rescue and start.request.resumes == 0
    failed = Outcome(OutcomeKind.FAILED, Cost(seconds=60.5), reason="no weights")
    assert Finish() in search.handle(Finished(4, failed), 101.0)


def test_a_try_that_dies_before_it_says_again_what_is_known_is_rescued_too():
    search = Single(replace(SINGLE, budget=Budget(steps=1000)), reserve=1.0)
    search.handle(Tick(), 0.0)
    cost = Cost(seconds=60.0, steps=600.0)
    search.handle(Reported(Report(0, 0, 0.6, 0.9, 0.1, None, cost)), 60.0)
    died, requests = Outcome(OutcomeKind.LOST, Cost(seconds=61.0)), []
    for trial in range(3):
        (start, _) = search.handle(Finished(trial, died if trial else replace(died, saved=cost)), 70.0 + trial)
        requests.append(start.request)
    assert [request.rescue for request in requests] == [False, False, True]


def test_in_another_session_it_goes_on_where_it_was_given_up():
    search = Single(replace(SINGLE, budget=Budget(steps=1000)), reserve=1.0)
    search.handle(Tick(), 0.0)
    saved, hung = Cost(seconds=20.0, steps=200.0), Outcome(OutcomeKind.TIMED_OUT, Cost(seconds=61.0))
    search.handle(Finished(0, Outcome(OutcomeKind.LOST, Cost(seconds=30.0), saved=saved)), 30.0)
    assert Finish() in search.handle(Finished(1, hung), 100.0)
    search.resume()
    (start, _) = search.handle(Tick(), 200.0)
    assert start.request.resumes == 0 and start.request.carried == saved and not start.request.rescue


def test_an_extended_run_trains_finally_again():
    search, clock = run(0.8, late=0.3)
    more = Budget(seconds=9000)
    Loop(search, Cut(clock, 2.0), clock, [Book()]).run([Extended(more)])
    last = search.trials.of(Purpose.FINAL)[-1]
    assert not last.request.rescue and last.request.budget.seconds > 2000
