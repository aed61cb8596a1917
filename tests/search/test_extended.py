"""A run whose budget is made larger: it searches on with what is known, and trains a longer final."""

import pytest
from simulation import FACTS, Book, make, quality

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Extended, Profiled
from autoaccel.core.quantities import Cost
from autoaccel.core.trial import Purpose
from autoaccel.errors import UsageError
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.replan import plateau
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.replay import replay


def whole(budget):
    clock, book, search = SimulatedClock(2.0), Book(), make(budget)
    Loop(search, TableExecutor(quality, clock), clock, [book]).run([Profiled(FACTS)])
    return search, clock, book


def extended(budget, more, keep=1.0):
    """A run that is extended after its end, or after a share of its log."""
    _, clock, book = whole(budget)
    entries = book.entries[: round(keep * len(book.entries))]
    again, rest = make(budget), Book()
    clock = SimulatedClock(entries[-1][0] + 3.0)
    events, waiting = replay(again, entries)
    Loop(again, TableExecutor(quality, clock), clock, [rest]).run([*events, Extended(more)], waiting)
    return again, clock, [*entries, *rest.entries]


@pytest.mark.parametrize("keep", [1.0, 0.6])
def test_a_run_goes_on_with_a_larger_budget(keep):
    first, _, _ = whole(Budget(seconds=600))
    search, clock, entries = extended(Budget(seconds=600), Budget(seconds=2400), keep)
    assert 2300 < clock.now() <= 2400
    final = search.final()
    assert final.request.budget.seconds > 2 * first.final().request.budget.seconds
    assert final.final.metric < first.final().final.metric
    assert replay(make(Budget(seconds=600)), entries) == ([], [])


def test_no_recipe_is_proposed_twice():
    search, _, _ = extended(Budget(seconds=600), Budget(seconds=2400))
    proposed = [r.request.recipe for r in search.trials if r.purpose is Purpose.SEARCH and r.request.parent is None]
    assert len(proposed) == len(set(proposed))


def test_what_trials_of_the_former_ladder_gained_does_not_shorten_the_new_one():
    search, clock = make(Budget(seconds=3000)), SimulatedClock(2.0)
    Loop(search, TableExecutor(quality, clock, standard_error=10.0), clock).run([Profiled(FACTS)])
    assert plateau(search._ladder) is not None
    search._ladder.new_ladder()
    assert plateau(search._ladder) is None


def test_what_is_compared_has_had_the_same_budget():
    search, _, _ = extended(Budget(seconds=600), Budget(seconds=2400))
    compared = search.comparison()
    assert compared.winner.request.budget.seconds == pytest.approx(compared.plain.request.budget.seconds)


def test_a_longer_final_training_that_is_worse_is_not_delivered():
    def worse_when_longer(request, p):
        return quality(request, p) + (1.0 if request.budget.seconds > 500 else 0.0)

    _, _, book = whole(Budget(seconds=600))
    search, clock = make(Budget(seconds=600)), SimulatedClock(603.0)
    events, waiting = replay(search, book.entries)
    loop = Loop(search, TableExecutor(worse_when_longer, clock), clock, [])
    loop.run([*events, Extended(Budget(seconds=2400))], waiting)
    finals = search.trials.of(Purpose.FINAL)
    assert len(finals) > 1 and search.final() is finals[0]


def test_a_budget_of_flops_is_extended_too():
    search, _, _ = extended(Budget(flops=6e11), Budget(flops=1.2e12))
    assert search.trials.run_cost(0.0).flops <= 1.2e12
    assert Budget(flops=1.2e12).share(Cost(search.final().request.budget)) > 0.25


def test_only_what_is_limited_can_be_added():
    assert Budget(seconds=60).plus(Budget(seconds=30)) == Budget(seconds=90)
    with pytest.raises(UsageError, match=r"1 GFLOPs cannot be added to 1 min"):
        Budget(seconds=60).plus(Budget(flops=1e9))
