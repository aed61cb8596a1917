"""Trials whose process dies, and runs that are killed: nothing is lost, and no recipe is blamed."""

from dataclasses import replace

import pytest
from simulation import FACTS, Book, make, quality

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Interrupted, Profiled, Reported, Start
from autoaccel.core.quantities import Cost
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.retries import RETRIES
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.replay import replay

SECONDS, FLOPS = Budget(seconds=600), Budget(flops=6e11)


class Mortal(TableExecutor):
    """Trains until the process dies; `dies` says at which share of a request's budget, and `saves` at which it saved."""

    def __init__(self, clock, dies, saves=None):
        super().__init__(quality, clock)
        self._dies, self._saves = dies, saves

    def start(self, request):
        super().start(request)
        at = self._dies(request)
        if at is None:
            return
        whole = request.budget.get("seconds", request.budget.get("flops", 0.0) / self._speed)
        saved = Cost() if self._saves is None else self._cost(self._saves * whole)
        if request.carried.seconds > saved.seconds:
            saved = Cost()
        reports = [e for _, _, e in self._queue if isinstance(e, Reported) and e.report.trial == request.trial]
        self._queue = [entry for entry in self._queue if self._of(entry[2]) != request.trial]
        for event in reports:
            if event.report.progress <= at:
                self._push(event.report.progress * whole - request.carried.seconds, event)
        cost = self._cost(at * whole) | saved
        self._push(
            at * whole - request.carried.seconds,
            Finished(request.trial, Outcome(OutcomeKind.LOST, cost, saved=saved)),
        )

    @staticmethod
    def _of(event):
        return event.trial if isinstance(event, Finished) else event.report.trial


def same(one, other):
    return (one.request.recipe, one.request.budget) == (other.request.recipe, other.request.budget)


def run(dies, saves=None, budget=SECONDS, workers=1):
    clock, book, search = SimulatedClock(2.0), Book(), make(budget)
    Loop(search, Mortal(clock, dies, saves), clock, [book]).run([Profiled(FACTS, workers)])
    return search, clock, book


def finals(search):
    return search.trials.of(Purpose.FINAL)


def first(purpose, count=1, at=0.5):
    """Let the first trials with a purpose die."""
    left = [count]

    def dies(request):
        if request.purpose is not purpose or not left[0]:
            return None
        left[0] -= 1
        return at

    return dies


def test_a_final_training_that_dies_is_trained_again_with_what_is_left():
    search, clock, _ = run(first(Purpose.FINAL))
    lost, again = finals(search)
    assert again.request.recipe == lost.request.recipe and again.complete
    assert again.request.resumes is None and not again.request.carried
    assert again.request.budget.seconds == pytest.approx(0.5 * lost.request.budget.seconds, rel=0.01)
    assert search.final() is again and clock.now() <= 600


def test_a_final_training_that_dies_goes_on_from_its_checkpoint():
    search, clock, _ = run(first(Purpose.FINAL, at=0.5), saves=0.4)
    lost, again = finals(search)
    assert (again.request.resumes, again.request.carried) == (lost.number, lost.outcome.saved)
    assert again.request.milestones == lost.request.milestones and again.request.seed == lost.request.seed
    # A tenth was done for nothing, and all that is left is used.
    assert again.request.budget.seconds == pytest.approx(0.9 * lost.request.budget.seconds, rel=0.01)
    assert clock.now() <= 600
    booked = search.trials.spent(Purpose.FINAL).seconds
    assert booked == pytest.approx(lost.request.budget.seconds, rel=0.01)


def test_under_a_budget_of_flops_it_goes_on_as_if_nothing_had_happened():
    unbroken, _, _ = run(lambda request: None, budget=FLOPS)
    search, _, _ = run(first(Purpose.FINAL), saves=0.5, budget=FLOPS)
    (whole,), (lost, again) = finals(unbroken), finals(search)
    assert again.request.budget == lost.request.budget == whole.request.budget
    assert again.final.metric == whole.final.metric
    assert search.trials.spent().flops == pytest.approx(unbroken.trials.spent().flops)


def test_a_second_death_before_a_checkpoint_goes_on_from_the_first_one():
    search, _, _ = run(first(Purpose.FINAL, count=2, at=0.5), saves=0.4)
    lost, second, again = finals(search)
    assert not second.outcome.saved and again.complete
    assert (again.request.resumes, again.request.carried) == (lost.number, lost.outcome.saved)


def test_a_final_training_that_always_dies_is_given_up_for_another_recipe():
    chosen = []

    def dies(request):
        if request.purpose is not Purpose.FINAL:
            return None
        chosen.append(request.recipe)
        return 0.01 if request.recipe == chosen[0] else None

    search, clock, _ = run(dies)
    assert [record.request.recipe for record in finals(search)][: RETRIES + 1] == [chosen[0]] * (RETRIES + 1)
    assert search.final().request.recipe != chosen[0] and clock.now() <= 600


@pytest.mark.parametrize("purpose", [Purpose.BASELINE, Purpose.SEARCH])
def test_a_trial_of_the_search_that_dies_is_tried_again(purpose):
    search, _, _ = run(first(purpose))
    lost = next(record for record in search.trials if record.unfinished)
    again = next(record for record in search.trials if record.number > lost.number and same(record, lost))
    assert again.complete or again.outcome.kind is OutcomeKind.PRUNED
    assert replace(again.request, trial=lost.number, reference=lost.request.reference) == lost.request


def test_a_trial_of_the_search_is_tried_three_times_at_most():
    doomed = []

    def dies(request):
        if request.purpose is Purpose.SEARCH and not doomed:
            doomed.append((request.recipe, request.budget))
        return 0.5 if (request.recipe, request.budget) in doomed else None

    search, _, _ = run(dies)
    assert [record.unfinished for record in search.trials].count(True) == RETRIES + 1
    assert search.final() is not None


def test_only_the_recipe_of_a_trial_that_dies_is_not_blamed():
    """The recipe that died in a short trial may still be the one that is trained in the end."""
    unbroken, _, _ = run(lambda request: None)
    winner = unbroken.final().request.recipe

    def dies(request):
        return 0.5 if request.recipe == winner and not died and not died.append(1) else None

    died = []
    search, _, _ = run(dies)
    assert search.final().request.recipe == winner


def kill(search_of, during, saved, after=4.0):
    """A run that is killed some seconds into its first trial with a purpose; the rest of it in a second session."""
    whole, _, book = search_of
    starts = [
        i
        for i, (_, entry) in enumerate(book.entries)
        if isinstance(entry, Start) and entry.request.purpose is during
    ]
    begun = book.entries[starts[0]][0]
    entries = [entry for entry in book.entries if entry[0] <= begun + after]
    again, clock, rest = make(whole._settings.budget), SimulatedClock(begun + after), Book()
    events, waiting = replay(again, entries, begun + after, lambda _: saved)
    clock.sleep(3.0)  # until it is up again
    Loop(again, TableExecutor(quality, clock), clock, [rest]).run(events, waiting)
    return again, clock, [*entries, *rest.entries]


@pytest.mark.parametrize("saved", [Cost(), Cost(seconds=3.0, flops=3e9)])
def test_a_run_that_is_killed_in_its_final_training_goes_on_with_it(saved):
    search, clock, entries = kill(run(lambda request: None), Purpose.FINAL, saved)
    killed, again = finals(search)
    assert killed.outcome.kind is OutcomeKind.PREEMPTED and killed.outcome.cost.seconds == pytest.approx(4.0)
    assert again.request.recipe == killed.request.recipe and again.complete
    assert again.request.carried == saved
    assert 590 < clock.now() <= 600
    assert replay(make(SECONDS), entries) == ([], [])


def test_a_run_that_is_killed_again_and_again_ends_with_its_final_training():
    """That the run was killed says nothing of the recipe, however often it happens."""
    search, _, entries = kill(run(lambda request: None), Purpose.FINAL, Cost())
    for _ in range(5):
        begun = next(
            now for now, e in reversed(entries) if isinstance(e, Start) and e.request.purpose is Purpose.FINAL
        )
        cut = [entry for entry in entries if entry[0] <= begun + 4.0]
        search, clock, book = make(SECONDS), SimulatedClock(begun + 4.0), Book()
        events, waiting = replay(search, cut, begun + 4.0)
        Loop(search, TableExecutor(quality, clock), clock, [book]).run(events, waiting)
        entries = [*cut, *book.entries]
    assert len(finals(search)) == 7 and search.final() is not None and clock.now() <= 600
    assert len({record.request.recipe for record in finals(search)}) == 1


def test_what_was_decided_and_not_started_is_decided_again():
    """Its budget was that of the moment before the run was killed."""
    _, _, book = run(lambda request: None)
    start = next(
        i for i, (_, e) in enumerate(book.entries) if isinstance(e, Start) and e.request.purpose is Purpose.FINAL
    )
    entries = book.entries[:start]
    again, clock, rest = make(SECONDS), SimulatedClock(entries[-1][0] + 5.0), Book()
    events, waiting = replay(again, entries)
    assert [action.request.purpose for action in waiting] == [Purpose.FINAL]
    Loop(again, TableExecutor(quality, clock), clock, [rest]).run(events, waiting)
    assert again.final().complete and clock.now() <= 600
    assert replay(make(SECONDS), [*entries, *rest.entries]) == ([], [])


def test_a_preempted_run_leaves_checkpoints_and_goes_on_from_them():
    clock, book, search = SimulatedClock(2.0), Book(), make(SECONDS)

    def preempted():
        started = [now for now, e in book.entries if isinstance(e, Start) and e.request.purpose is Purpose.FINAL]
        return Interrupted(preempted=True) if started and clock.now() >= started[0] + 4 else None

    Loop(search, TableExecutor(quality, clock), clock, [book], preempted, patience=0.5).run([Profiled(FACTS)])
    (final,) = finals(search)
    assert final.outcome.kind is OutcomeKind.PREEMPTED and final.outcome.saved.seconds == pytest.approx(4.0)
    again, rest = make(SECONDS), Book()
    events, waiting = replay(again, book.entries)
    Loop(again, TableExecutor(quality, clock), clock, [rest]).run(events, waiting)
    assert finals(again)[-1].request.carried == final.outcome.saved and again.final().complete
    assert 590 < clock.now() <= 600
