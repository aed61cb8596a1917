"""The plan and the search with a simulated clock, in the same loop as real runs."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from simulation import FACTS, Book, make, quality, simulate

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Interrupted, Profiled, Start
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, Purpose
from autoaccel.errors import UsageError
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.plan import make_plan
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.replay import replay


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seconds", [60, 600, 36000])
def test_the_run_ends_within_its_budget_and_uses_it(seconds, workers):
    search, clock, _ = simulate(Budget(seconds=seconds), workers=workers)
    assert 0.95 * seconds < clock.now() <= seconds
    assert search.final().outcome.kind is OutcomeKind.COMPLETE


def test_final_training_fits_when_trials_overrun():
    """Trials that cost more than estimated must shorten the search, not the final training."""
    _, _, book = simulate(Budget(seconds=3600), cost_factor=1.2)
    final = [e.request for _, e in book.entries if isinstance(e, Start) and e.request.purpose is Purpose.FINAL]
    assert final[0].budget.seconds > 0.3 * 3600


def test_baselines_come_first_and_take_little():
    search, _, book = simulate(Budget(seconds=3600))
    started = [e.request for _, e in book.entries if isinstance(e, Start)]
    assert [r.recipe for r in started[:2]] == list(PLAIN.values())
    spent = sum(r.budget.seconds for r in started if r.purpose is Purpose.BASELINE)
    assert spent <= 0.15 * 3600
    assert search.comparison().budget.seconds <= search.baseline().request.budget.seconds


def test_the_search_finds_a_better_learning_rate_than_plain():
    search, _, _ = simulate(Budget(seconds=7200))
    assert search.comparison().winner.final.metric < search.comparison().plain.final.metric
    assert search.best().request.recipe not in PLAIN.values()


def test_a_diverging_recipe_is_infeasible_and_the_run_goes_on():
    def table(request, p):
        return math.nan if request.recipe.optimizer.name == "muon" else quality(request, p)

    search, _, _ = simulate(Budget(seconds=600), table)
    kinds = {e.outcome.kind for e in search.trials}
    assert OutcomeKind.INFEASIBLE in kinds
    assert search.final() is not None


def test_nothing_beats_plain_then_plain_is_trained():
    def table(request, p):
        return 1.0 if request.recipe in PLAIN.values() else 2.0

    search, _, _ = simulate(Budget(seconds=600), table)
    assert search.final().request.recipe in PLAIN.values()


def test_a_final_training_that_diverges_is_given_up_for_the_next_best_recipe():
    given_up = []

    def table(request, p):
        if request.purpose is Purpose.FINAL and not given_up:
            given_up.append(request.recipe)
        diverged = request.purpose is Purpose.FINAL and request.recipe in given_up
        return 100.0 if diverged else quality(request, p)

    search, clock, _ = simulate(Budget(seconds=600), table)
    first, second = search.trials.of(Purpose.FINAL)
    assert first.outcome.kind is OutcomeKind.PRUNED and len(first.reports) == 1
    assert search.final() is second and second.request.recipe != first.request.recipe
    assert 0.95 * 600 < clock.now() <= 600


def test_flops_budget_is_deterministic():
    runs = [simulate(Budget(flops=1e13), seed=3, flops_per_second=speed)[0] for speed in (1e9, 7e9)]
    recipes = [[e.request.recipe for e in search.trials] for search in runs]
    assert recipes[0] == recipes[1]
    assert runs[0].trials.spent().flops <= 1e13 * 1.001


def test_replaying_a_log_arrives_at_the_same_state():
    _, _, book = simulate(Budget(seconds=600))
    cut = book.entries[: len(book.entries) // 2]
    again = make(Budget(seconds=600))
    lost, pending = replay(again, cut)
    known = {e.request.trial: e.request.recipe for _, e in cut if isinstance(e, Start)}
    assert {n: again.trials[n].request.recipe for n in known} == known
    assert all(isinstance(event, Finished) for event in lost)
    assert len(lost) + len(pending) <= 1


def interrupt(during, table=quality, preempted=False):
    """A run that is interrupted 4 seconds after the first trial with the given purpose has started."""
    clock, book = SimulatedClock(2.0), Book()
    search = make(Budget(seconds=600))

    def interrupted():
        starts = [now for now, e in book.entries if isinstance(e, Start) and e.request.purpose is during]
        return Interrupted(preempted) if starts and clock.now() >= starts[0] + 4 else None

    loop = Loop(search, TableExecutor(table, clock), clock, [book], interrupted, patience=0.5)
    loop.run([Profiled(FACTS)])
    asked = next(now for now, e in book.entries if isinstance(e, Interrupted))
    return search, clock.now() - asked, book


def test_an_interrupted_search_stops_what_is_running():
    search, seconds, _ = interrupt(Purpose.SEARCH)
    assert seconds == 0 and not search.trials.of(Purpose.FINAL)
    assert list(search.trials)[-1].outcome.kind is OutcomeKind.PREEMPTED


def test_an_interrupted_final_training_finishes_early_and_is_complete():
    search, seconds, book = interrupt(Purpose.FINAL)
    final = search.final()
    assert final.outcome.kind is OutcomeKind.COMPLETE and final.reports[-1].progress == 1
    assert final.outcome.cost.seconds < 0.1 * final.request.budget.seconds
    assert seconds == pytest.approx(0.15 * 4, abs=0.1)
    again = make(Budget(seconds=600))
    assert replay(again, book.entries) == ([], [])
    assert again.final().outcome == final.outcome


def test_an_interrupted_final_training_is_the_last_one():
    """Even if it is worse than the plain recipe, no other final training starts after an interrupt."""

    def table(request, p):
        return 100.0 if request.purpose is Purpose.FINAL else quality(request, p)

    search, _, _ = interrupt(Purpose.FINAL, table=table)
    assert len(search.trials.of(Purpose.FINAL)) == 1 and search.final() is not None


def test_a_resumed_run_goes_on_where_a_training_that_finished_early_was_killed():
    _, _, book = interrupt(Purpose.FINAL)
    cut = next(i for i, (_, e) in enumerate(book.entries) if isinstance(e, Interrupted)) + 1
    again = make(Budget(seconds=600))
    (lost,), pending = replay(again, book.entries[:cut])
    assert lost.outcome.kind is OutcomeKind.PREEMPTED and not pending


def test_a_budget_that_is_too_small_says_how_much_is_needed():
    with pytest.raises(UsageError, match="at least"):
        make_plan(Budget(seconds=3), FACTS, Cost(seconds=2.5), 1, 1.5)


@pytest.mark.parametrize(("seconds", "rungs"), [(8, 0), (25, 3), (120, 3), (600, 4), (7200, 5)])
def test_the_ladder_fits_the_budget(seconds, rungs):
    """It ends with the final training, and short budgets get fewer rungs, or no search at all."""
    facts = replace(FACTS, train=Cost(seconds=4e-4, flops=1e6), setup=Cost(seconds=0.1))
    plan = make_plan(Budget(seconds=seconds), facts, Cost(seconds=2.5), 1, 1.5)
    assert len(plan.ladder) == rungs
    if rungs:
        assert plan.ladder[-1] == pytest.approx(0.65 * (1 - 4 / seconds))
        assert plan.search_share == pytest.approx(1 - plan.ladder[-1])
        assert all(above == pytest.approx(3 * below) for below, above in pairwise(plan.ladder))


@pytest.mark.parametrize("epochs", [5, 20, 80])
def test_what_is_told_to_be_the_longest_useful_training_is_the_final_one(epochs):
    """Twenty epochs of 1000 samples take 2 seconds, an evaluation .02; what they leave is searched."""
    longest = Budget(epochs=epochs)
    plan = make_plan(Budget(seconds=100), FACTS, Cost(), 1, 0.0, longest)
    expected = (epochs * 0.1 + 2 * 0.02 + 0.05) / 100
    assert plan.ladder[-1] == pytest.approx(expected) and plan.longest == pytest.approx(expected)
    assert "the longest useful one" in "\n".join(plan.describe())
    # A few percent of the rest show how good the result is, where they pay two trainings as long.
    evidence = min(0.15, 16 * plan.ladder[-1]) if 2 * plan.ladder[-1] < 0.15 else 0.0
    assert plan.evidence == pytest.approx(evidence) and plan.search_share == pytest.approx(1 - evidence)


def test_a_budget_for_just_the_longest_useful_training_is_not_spent_on_a_search():
    plan = make_plan(Budget(seconds=8), FACTS, Cost(), 1, 0.0, Budget(seconds=8))
    assert not plan.ladder
    search, _, _ = simulate(Budget(seconds=60), longest=Budget(seconds=60))
    (only,) = search.trials
    assert only.purpose is Purpose.FINAL and only.request.origin.startswith("portfolio ")


def test_trials_as_long_as_the_final_training_take_its_place():
    """The best of them is delivered; no second training of it follows."""
    search, clock, _ = simulate(Budget(seconds=3600), longest=Budget(seconds=120))
    top = [record for record in search.trials if record.request.budget.seconds == pytest.approx(120, rel=0.01)]
    assert len(top) > 2 and search.best() in top
    assert search.best().final.metric <= min(record.final.metric for record in top if record.final) + 0.05
    assert 0.9 * 3600 < clock.now() <= 3600


def test_a_plan_in_a_quantity_of_small_amounts_lasts_as_long_as_it_does():
    """A sample costs 2e-4 processor seconds in 1e-4 seconds, so two hours of the one are one hour of the other."""
    facts = replace(FACTS, train=Cost(seconds=1e-4, flops=1e6, cpu_seconds=2e-4))
    plan = make_plan(Budget(cpu_seconds=7200.0), facts, Cost(), 1, 0.0)
    assert plan.expected_seconds(plan.budget) == pytest.approx(3600)
    with pytest.raises(
        UsageError, match="no meter measures that, only seconds, flops, cpu_seconds; did you mean 'seconds'"
    ):
        make_plan(Budget(second=7200.0), facts, Cost(), 1, 0.0)
