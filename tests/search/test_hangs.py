"""Trainings that hang: where plain does, the task is at fault; where a recipe does, the others are tried."""

from simulation import FACTS, Book, make, quality

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Profiled
from autoaccel.core.quantities import Cost
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose
from autoaccel.execution.simulated import TableExecutor
from autoaccel.tuner.loop import Loop

FLOPS = Budget(flops=6e11)


class Hanging(TableExecutor):
    """Ends trials that hang after two minutes; `hangs` says which."""

    def __init__(self, clock, hangs):
        super().__init__(quality, clock)
        self._hangs = hangs

    def start(self, request):
        if not self._hangs(request):
            return super().start(request)
        outcome = Outcome(OutcomeKind.TIMED_OUT, Cost(seconds=120.0), reason="nothing has happened for 2 min")
        return self._push(120.0, Finished(request.trial, outcome))


def run(hangs, budget=FLOPS, workers=1):
    clock, search = SimulatedClock(2.0), make(budget)
    Loop(search, Hanging(clock, hangs), clock, [Book()]).run([Profiled(FACTS, workers)])
    return search, clock


def test_where_plain_hangs_in_both_forms_nothing_else_is_tried():
    search, clock = run(lambda _: True)
    assert search.failure.reason == "nothing has happened for 2 min"
    assert len(search.trials) == 2 and clock.now() < 300


def test_where_one_form_trains_the_search_goes_on():
    constant = [r for r in (run(lambda _: False)[0].trials) if r.purpose is Purpose.BASELINE][1].request.recipe
    search, _ = run(lambda request: request.recipe == constant)
    assert search.failure is None and search.final() is not None


def test_what_a_limit_in_seconds_has_ended_says_nothing_of_the_task():
    search, _ = run(lambda request: request.purpose is Purpose.BASELINE, Budget(seconds=3000))
    assert search.failure is None and search.final() is not None


def test_without_a_limit_in_seconds_a_slow_machine_ends_no_trial():
    search, _ = run(lambda _: False)
    assert {record.request.grace for record in search.trials} == {None}


def test_where_anything_trains_the_task_is_not_at_fault():
    search, _ = run(lambda request: request.purpose is Purpose.BASELINE, workers=3)
    assert search.failure is None and search.best() is not None
