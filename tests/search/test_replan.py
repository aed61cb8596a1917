"""The plan is made again when plain training shows that the profile was wrong about its cost."""

from dataclasses import replace

import pytest
from simulation import FACTS, Book, Machine, make

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Profiled, Start
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.replay import replay


def run(budget, slower, workers=1, profile=1.0):
    """A run on a machine that is slower than the facts say; the profile measured `profile` times the facts."""
    clock, book, search = SimulatedClock(2.0), Book(), make(budget)
    facts = replace(FACTS, train=FACTS.train.replace(seconds=profile * FACTS.train.seconds))
    Loop(search, Machine(clock, slower), clock, [book]).run([Profiled(facts, workers)])
    return search, clock, book


def used(search):
    """The number of rungs that the search has used, by the budgets of its trials."""
    ended = [r for r in search.trials.of(Purpose.SEARCH) if r.reports or r.complete]  # not stopped at once
    return len({record.request.budget for record in ended})


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize(("slower", "profile"), [(1.0, 30.0), (30.0, 1.0)])
def test_a_wrong_profile_is_corrected_by_the_first_plain_trial(slower, profile, workers):
    """As many rungs as with a right profile, whether that was too slow or too fast."""
    right, _, _ = run(Budget(seconds=3600), slower, workers, slower)
    search, clock, book = run(Budget(seconds=3600), slower, workers, profile)
    assert len(search.plan.ladder) == len(right.plan.ladder)
    # Beside others, a little more time may be enough for another rung.
    assert used(search) == used(right) if workers == 1 else used(search) >= used(right)
    assert search.plan.facts.train.seconds == pytest.approx(slower * FACTS.train.seconds, rel=0.3)
    assert "planned again: plain training takes" in search.describe()[0] and not right.plan.again
    assert search.comparison().budget in [search.plan.trial_budget(rung) for rung in (0, 1, 2)]
    assert search.final().outcome.kind is OutcomeKind.COMPLETE and 0.95 * 3600 < clock.now() <= 3600
    again = make(Budget(seconds=3600))
    assert replay(again, book.entries) == ([], []) and again.plan == search.plan


@pytest.mark.parametrize("slower", [0.6, 1.0, 1.8])
def test_a_profile_that_is_about_right_is_kept(slower):
    search, _, _ = run(Budget(seconds=3600), slower)
    assert not search.plan.again and 2 <= len(search.trials.of(Purpose.BASELINE)) <= 4


def test_steps_so_slow_that_no_search_fits_leave_the_rest_to_what_the_space_recommends():
    search, clock, _ = run(Budget(seconds=120), 400.0)
    assert not search.plan.ladder and len(search.trials) == 2
    assert search.final().request.origin.startswith("portfolio ") and clock.now() <= 120
    assert any("none fits; portfolio " in line for line in search.describe())
    assert search.best().request.recipe == PLAIN["plain"]


def test_a_flop_budget_is_not_planned_again():
    """No measured second may matter, however wrong."""
    recipes = []
    for slower in (1.0, 30.0):
        search, _, book = run(Budget(flops=1e13), slower)
        assert not search.plan.again
        recipes.append([entry.request.recipe for _, entry in book.entries if isinstance(entry, Start)])
    assert recipes[0] == recipes[1]


def test_a_lost_plain_trial_says_nothing_about_the_cost():
    search = make(Budget(seconds=3600))
    search.handle(Profiled(FACTS), 2.0)
    plan = search.plan
    search.handle(Finished(0, Outcome(OutcomeKind.LOST, Cost(seconds=1.0, samples=1.0))), 3.0)
    assert search.plan is plan
