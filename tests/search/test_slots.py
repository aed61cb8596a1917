"""Many slots: all of them train until the final training is due, which nothing delays."""

import heapq
import math
import random
from dataclasses import replace

import pytest
from simulation import FACTS, Book, make, quality, simulate
from test_promotion import FULL, loss, small_space

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Profiled, Start
from autoaccel.core.quantities import Cost
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.base import SearchSettings
from autoaccel.search.halving import HalvingSearch
from autoaccel.search.plan import make_plan
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.replay import replay

SECONDS = 3600.0
SLOW = replace(FACTS, train=Cost(seconds=5e-2, flops=1e6))
"""A task of which the lowest rung is long, so that many slots do not train thousands of trials."""
MIXED = Budget(seconds=1000, flops=1e12)
OF_THE_SEARCH = (Purpose.BASELINE, Purpose.SEARCH)


class Unsteady(TableExecutor):
    """Trials take from a third of their budget to half as much again, and some fail or lose their process."""

    def __init__(self, clock, seed, fails=0.1, table=quality, worst=1.5):
        super().__init__(table, clock)
        self._source, self._fails, self._worst = random.Random(seed), fails, worst
        self.running, self.most = set(), 0

    def start(self, request):
        self.running.add(request.trial)
        self.most = max(self.most, len(self.running))
        # The final training watches the clock, as real ones do.
        final = request.purpose is Purpose.FINAL
        self._factor = 1.0 if final else self._source.uniform(0.3, self._worst)
        super().start(request)
        if request.purpose is Purpose.SEARCH and self._source.random() < self._fails:
            self._fail(request)

    def _fail(self, request):
        self._queue = [one for one in self._queue if self._of(one[2]) != request.trial]
        heapq.heapify(self._queue)
        kind = self._source.choice((OutcomeKind.FAILED, OutcomeKind.LOST, OutcomeKind.INFEASIBLE))
        seconds = self._source.random() * request.budget.seconds
        self._push(seconds, Finished(request.trial, Outcome(kind, Cost(seconds=seconds), reason="no")))

    @staticmethod
    def _of(event):
        return event.trial if isinstance(event, Finished) else event.report.trial

    def poll(self, timeout):
        events = super().poll(timeout)
        self.running -= {event.trial for event in events if isinstance(event, Finished)}
        return events


class Watched:
    """Notes when slots were left idle by the search."""

    def __init__(self, search, workers):
        self.search, self.workers, self.idle = search, workers, []

    @property
    def trials(self):
        return self.search.trials

    def handle(self, event, now):
        actions = self.search.handle(event, now)
        if self.search.phase == "search" and len(self.search.trials.running()) < self.workers:
            self.idle.append(now)
        return actions


def run(workers, seed, budget=SECONDS, longest=None, **options):
    clock, book, search = SimulatedClock(2.0), Book(), make(Budget(seconds=budget), seed, longest)
    machine, watched = Unsteady(clock, seed, **options), Watched(search, workers)
    Loop(watched, machine, clock, [book]).run([Profiled(SLOW, workers)])
    return search, clock.now(), machine, watched, book


@pytest.mark.parametrize(
    ("workers", "seed"),
    [(2, 0), (2, 1), (3, 2), (3, 3), (8, 4), (8, 5), (24, 6), pytest.param(64, 7, marks=pytest.mark.slow)],
)
def test_slots_train_until_the_final_training_which_starts_in_time(workers, seed):
    search, now, machine, watched, book = run(workers, seed)
    assert machine.most == workers
    (final,) = search.trials.of(Purpose.FINAL)
    # A slot idles only if not even a trial of the lowest rung would end in time.
    assert all(now + 1.02 * search.plan.trial_budget(0).seconds > final.started for now in watched.idle)
    due = search.plan.search_share * SECONDS
    assert final.started <= due + 1e-6 and final.complete and now <= SECONDS
    others = [record for record in search.trials if record.purpose is not Purpose.FINAL]
    assert all(record.ended <= final.started for record in others)
    assert final.request.budget.seconds == pytest.approx(SECONDS - final.started - search.plan.reserve, abs=0.2)
    assert replay(make(Budget(seconds=SECONDS), seed), book.entries) == ([], [])


def committed(search):
    """When the search is over, and the final training is measured or begins."""
    return min(record.started for record in search.trials if record.purpose in (Purpose.PACE, Purpose.FINAL))


@pytest.mark.parametrize("workers", [2, 16])
def test_a_wrong_profile_stops_what_was_begun_and_tries_it_again(workers):
    clock, search = SimulatedClock(2.0), make(Budget(seconds=SECONDS))
    speed = 5e-3
    facts = replace(FACTS, train=Cost(seconds=20 * speed, flops=1e6))

    class Counting(Unsteady):
        def poll(self, timeout):
            return [self._counted(event) for event in super().poll(timeout)]

        @staticmethod
        def _counted(event):
            if not isinstance(event, Finished):
                return event
            samples = event.outcome.cost.seconds / speed
            return replace(event, outcome=replace(event.outcome, cost=event.outcome.cost.replace(samples=samples)))

    machine = Counting(clock, 0, fails=0.0)
    Loop(search, machine, clock).run([Profiled(facts, workers)])
    assert search.plan.again and machine.most <= workers
    known = min(record.ended for record in search.trials.of(Purpose.BASELINE) if record.complete)
    others = search.trials.of(Purpose.SEARCH)
    first = {r.request.recipe for r in others if r.ended == known and not r.complete}
    again = {r.request.recipe for r in others if r.started >= known}
    assert first <= again and (first or workers == 2)
    assert committed(search) <= search.plan.search_share * SECONDS + 1e-6


def small(workers, seed=0, fails=0.0, table=loss, budget=12 * FULL, worst=1.0):
    """A run in a space of a dozen recipes, of which the longest useful training is known."""
    clock = SimulatedClock(0.0)
    search = HalvingSearch(
        SearchSettings(small_space(), Budget(seconds=budget), seed, longest=Budget(seconds=FULL))
    )
    machine = Unsteady(clock, seed, fails, table, worst)
    Loop(search, machine, clock).run([Profiled(FACTS, workers)])
    return search, clock.now(), machine


@pytest.mark.parametrize("worst", [1.0, 1.5])
@pytest.mark.parametrize("workers", [3, 16])
def test_slots_that_would_idle_train_runner_ups_in_full_and_other_seeds(workers, worst):
    search, now, machine = small(workers, worst=worst)
    assert machine.most == workers and now <= 12 * FULL
    in_full = [r for r in search.trials.of(Purpose.SEARCH) if r.request.budget.seconds > 0.9 * FULL]
    assert len({r.request.recipe for r in in_full}) > 3
    # The last runner-ups are still training.
    until = max(r.ended for r in search.trials.of(Purpose.SEARCH))
    beside = [r for r in search.trials.of(Purpose.EVIDENCE) if r.started < until]
    assert beside and {r.request.seed for r in beside} != {search.best().request.seed}
    assert {r.request.recipe for r in beside} & {r.request.recipe for r in in_full}


def test_after_many_failures_in_a_row_slots_train_what_is_known_and_the_final_training_is_not_late():
    def table(request, p):
        return math.nan if request.origin in ("random", "model") else quality(request, p)

    search, now, machine, _, _ = run(8, 0, fails=0.0, table=table)
    (final,) = search.trials.of(Purpose.FINAL)
    assert final.complete and final.started <= search.plan.search_share * SECONDS + 1e-6 and now <= SECONDS
    assert machine.most == 8


@pytest.mark.parametrize("budget", [Budget(flops=1e12), MIXED])
def test_what_adds_up_is_no_more_with_more_slots(budget):
    one, many = (simulate(budget, workers=workers)[0] for workers in (1, 8))
    spent = [sum(search.trials.spent(of)["flops"] for of in OF_THE_SEARCH) / 1e12 for search in (one, many)]
    assert spent[1] <= spent[0] + 0.1 and max(spent) <= 0.4
    assert one.plan.ladder == many.plan.ladder and one.plan.at_once == many.plan.at_once == 1


def test_the_plan_knows_the_slots():
    one, many = (make_plan(Budget(seconds=600), FACTS, Cost(seconds=2), workers, 1.5) for workers in (1, 16))
    assert "slots" not in " ".join(one.describe())
    assert "budget: 10 min, everything included, on 16 slots 2 h 40 min in all" in many.describe()
    counts = [int(plan.describe()[-1].split()[2]) for plan in (one, many)]
    assert counts[1] > 10 * counts[0]
    # One slot could not pay a search of this budget, and sixteen can.
    slow = replace(FACTS, train=Cost(seconds=1.55e-2, flops=1e6))
    plans = [make_plan(Budget(seconds=300), slow, Cost(seconds=2), workers, 1.5) for workers in (1, 16)]
    assert not plans[0].ladder and plans[1].ladder


def test_a_search_that_ends_early_goes_on_until_what_runs_has_ended():
    def steep(request, p):
        amount = request.budget.seconds * max(p, 0.1)
        lr = float(request.recipe.optimizer.parameters["lr"])
        return 100 / amount + 0.001 * abs(math.log10(lr) + 2)

    search, _, book = simulate(Budget(seconds=3000), steep, workers=4)
    assert search.plan.ended
    assert 0.95 * search.plan.search_share * 3000 < committed(search) <= search.plan.search_share * 3000 + 1e-6
    starts = [now for now, entry in book.entries if isinstance(entry, Start)]
    assert len(starts) == len(search.trials)
