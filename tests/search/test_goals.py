"""Searches with a goal, against tables of results on a simulated clock."""

import math

import pytest
from simulation import FACTS, Book, quality

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Profiled, Start
from autoaccel.core.goal import Goal, parse_goal
from autoaccel.core.trial import Purpose
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.base import SearchSettings
from autoaccel.search.front import front, standing
from autoaccel.search.halving import HalvingSearch
from autoaccel.search.limits import Limits
from autoaccel.spaces.space import SearchSpace
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.summary import delivery

BUDGET = Budget(seconds=600)
SHORT = Budget(seconds=60)
LONG = Budget(seconds=3600)


def rate(request):
    return float(request.recipe.optimizer.parameters["lr"])


def latency(request):
    """Recipes with a learning rate beyond .003 are slow ones; the best rate is .01."""
    return {"latency_ms": 2.0 if rate(request) < 0.003 else 8.0, "size_mb": 100 * rate(request)}


def simulate(goal, table=quality, budget=BUDGET, measured=latency, seed=0, workers=1, longest=None, **options):
    clock, book = SimulatedClock(2.0), Book()
    settings = SearchSettings(SearchSpace.load("vision"), budget, seed, longest=longest, goal=goal)
    search = HalvingSearch(settings)
    executor = TableExecutor(table, clock, measured=measured, **{"standard_error": 0.01, **options})
    Loop(search, executor, clock, [book]).run([Profiled(FACTS, workers)])
    return search, clock, book


def promoted(search):
    return [record for record in search.trials if record.request.parent is not None]


# Target


def test_a_run_stops_when_the_target_is_reached_and_delivers_that_model():
    free, clock, _ = simulate(Goal())
    value = sorted(r.final.metric for r in free.trials if r.final)[len(free.trials) // 3]
    goal = parse_goal(f"loss={value}", (), None)
    search, early, _ = simulate(goal)
    kind, record = delivery(search, goal)
    assert record.final.metric <= value - 1.645 * 0.01
    assert early.now() < 0.7 * clock.now() and search.final() is None
    assert record is list(search.trials)[-1] and kind == "trial"


def test_a_target_within_the_noise_is_not_reached():
    found = min(r.final.metric for r in simulate(Goal())[0].trials if r.final)
    goal = parse_goal(f"loss={found}", (), None)
    search, _, _ = simulate(goal, standard_error=0.05)
    assert search.final() is not None and Limits(goal, FACTS, search.trials).reaching() is None


def test_with_unknown_noise_reached_means_reached():
    found = min(r.final.metric for r in simulate(Goal(), standard_error=None)[0].trials if r.final)
    goal = parse_goal(f"loss={found}", (), None)
    search, _, _ = simulate(goal, standard_error=None)
    assert delivery(search, goal)[1].final.metric <= found


def test_a_final_training_ends_early_when_it_reaches_the_target():
    only_final = lambda request, p: quality(request, p) + (request.purpose is not Purpose.FINAL)  # noqa: E731
    free, whole, _ = simulate(Goal(), only_final)
    near = free.final().reports[len(free.final().reports) // 2].metric
    goal = parse_goal(f"loss={near + 0.02}", (), None)
    search, early, _ = simulate(goal, only_final)
    assert early.now() < 0.95 * whole.now()
    assert delivery(search, goal)[0] == "final" and Limits(goal, FACTS, search.trials).reaching() is search.final()


def test_other_trials_are_stopped_when_the_target_is_reached():
    goal = parse_goal("loss=100", (), None)
    search, clock, _ = simulate(goal, workers=4)
    assert clock.now() < 60 and not search.trials.running()
    assert delivery(search, goal)[0] == "plain"


def test_a_target_out_of_reach_is_told_early_and_the_run_goes_on():
    goal = parse_goal("loss=0.2", (), None)
    search, _, book = simulate(goal)
    line = search.describe()[-1]
    assert line.startswith("target: loss 0.2 is probably out of reach of this budget") and search.final()
    told = []
    replayed = HalvingSearch(SearchSettings(SearchSpace.load("vision"), BUDGET, 0, goal=goal))
    for now, entry in book.entries:
        if not isinstance(entry, Start):
            replayed.handle(entry, now)
            if replayed.describe()[-1] == line:
                told.append(now)
    assert told[0] < 0.3 * BUDGET.seconds and len(told) > 10


def test_a_target_that_may_be_reached_is_not_called_out_of_reach():
    found = min(r.final.metric for r in simulate(Goal())[0].trials if r.final)
    search, _, _ = simulate(parse_goal(f"loss={found - 0.01}", (), None))
    assert not any(line.startswith("target:") for line in search.describe())


# Constraints


def test_what_breaks_a_constraint_is_neither_promoted_nor_trained_finally_nor_delivered():
    goal = parse_goal(None, "latency_ms<=5", None)
    free, _, _ = simulate(Goal())
    assert latency(free.final().request)["latency_ms"] > 5  # the best ones are the slow ones
    search, _, _ = simulate(goal, budget=LONG)
    assert len(search.trials) > 15
    longer = [r for r in promoted(search) if r.purpose is Purpose.SEARCH]
    assert longer and all(latency(record.request)["latency_ms"] <= 5 for record in longer)
    assert latency(search.final().request)["latency_ms"] <= 5
    what, delivered = delivery(search, goal)
    assert what in ("final", "trial") and latency(delivered.request)["latency_ms"] <= 5
    assert delivered.final.metric <= search.final().final.metric
    assert all(record.request.measure == ("latency_ms",) for record in search.trials)


def test_proposals_learn_to_keep_a_constraint():
    goal = parse_goal(None, "latency_ms<=5", None)

    def share(goal, seed):
        search, _, _ = simulate(goal, seed=seed, budget=LONG)
        fast = [latency(r.request)["latency_ms"] <= 5 for r in search.trials if r.request.origin == "model"]
        return sum(fast) / len(fast)

    with_goal, without = (sum(share(g, seed) for seed in range(2)) / 2 for g in (goal, Goal()))
    assert with_goal > 0.5 > without


def test_a_model_that_nothing_keeps_small_is_delivered_all_the_same_and_is_the_one_that_breaks_least():
    goal = parse_goal(None, "size_mb<=0.0001", None)
    search, _, _ = simulate(goal)
    limits = Limits(goal, FACTS, search.trials)
    _, record = delivery(search, goal)
    assert limits.broken(record) and search.final() is record
    tried = [r for r in search.trials if r.final]
    assert limits.excess(record) == min(map(limits.excess, tried))


def test_the_portfolio_is_not_tried_on_a_model_that_is_known_to_be_too_large():
    wide = lambda request: {"size_mb": 2.0 if request.origin.startswith(("plain", "portfolio")) else 0.5}  # noqa: E731
    search, _, _ = simulate(parse_goal(None, "size_mb<=1", None), measured=wide)
    assert not any(record.request.origin.startswith("portfolio") for record in search.trials)
    assert search.final().outcome.measured["size_mb"] == 0.5
    free, _, _ = simulate(parse_goal(None, "size_mb<=3", None), measured=wide)
    assert any(record.request.origin.startswith("portfolio") for record in free.trials)


def test_of_noisy_latencies_the_least_counts():
    numbers = iter(range(1000))
    noisy = lambda request: {"latency_ms": 4.9 if request.purpose is not Purpose.FINAL else 5.3 + next(numbers)}  # noqa: E731
    goal = parse_goal(None, "latency_ms<=5", None)
    search, _, _ = simulate(goal, measured=noisy)
    assert delivery(search, goal) == ("final", search.final())
    assert search.final().outcome.measured["latency_ms"] > 5
    assert Limits(goal, FACTS, search.trials).value(search.final(), "latency_ms") == 4.9


def test_a_final_training_that_breaks_a_metric_is_replaced_by_a_trial_that_keeps_it():
    recall = lambda request: {"recall": 0.95 if request.purpose is not Purpose.FINAL else 0.5}  # noqa: E731
    goal = parse_goal(None, "recall>=0.9", None)
    search, _, _ = simulate(goal, measured=recall)
    kind, record = delivery(search, goal)
    assert kind in ("trial", "plain") and record.outcome.measured["recall"] == 0.95
    assert record.request.budget.size == max(
        r.request.budget.size for r in search.trials if r is not search.final()
    )


def test_a_metric_that_only_long_trainings_reach_does_not_condemn_short_ones():
    recall = lambda request: {"recall": 1 - 1 / math.sqrt(request.budget.seconds)}  # noqa: E731
    goal = parse_goal(None, "recall>=0.94", None)
    search, _, _ = simulate(goal, measured=recall)
    assert promoted(search) and delivery(search, goal) == ("final", search.final())


def test_what_is_not_measured_is_not_trusted_to_keep_a_constraint():
    goal = parse_goal(None, "latency_ms<=5", None)
    search, _, _ = simulate(goal, measured=lambda _: {})
    assert Limits(goal, FACTS, search.trials).excess(delivery(search, goal)[1]) == math.inf


# Front


def test_ranks_and_crowding():
    points = [(0, 3), (1, 1), (3, 0), (1, 2), (4, 4), (1, 1)]
    ranks = [rank for rank, _ in standing(points)]
    assert ranks[0] == ranks[1] == ranks[2] == ranks[5] == 0 < ranks[3] < ranks[4]
    assert standing(points)[0][1] == standing(points)[2][1] == -math.inf
    assert standing([(1.0, 1.0)]) == [(0, -math.inf)] and standing([]) == []


def test_a_front_has_what_no_other_beats_in_both():
    goal = parse_goal(None, (), "quality,size")
    search, _, _ = simulate(goal, budget=Budget(seconds=900))
    found = front(search.trials, goal, BUDGET, FACTS)
    metrics = [record.final.metric for record in found]
    sizes = [record.outcome.measured["size_mb"] for record in found]
    assert len(found) >= 3 and metrics == sorted(metrics) and sizes == sorted(sizes, reverse=True)
    for other in search.trials:
        if other.final and other not in found:
            assert any(
                one.final.metric <= other.final.metric
                and one.outcome.measured["size_mb"] <= other.outcome.measured["size_mb"]
                for one in found
            )


def test_a_search_for_a_front_finds_a_wider_one_than_a_search_for_quality():
    goal = parse_goal(None, (), "quality,size")

    def volume(searched, seed):
        search, _, _ = simulate(searched, seed=seed, longest=SHORT)
        left, area = 4.0, 0.0
        for record in front(search.trials, goal, BUDGET, FACTS):
            value, size = record.final.metric, math.log10(latency(record.request)["size_mb"])
            area += max(0.0, 3.0 - value) * max(0.0, min(left, 1.5) - size)
            left = size
        return area

    wide, narrow = (sum(volume(g, seed) for seed in range(3)) for g in (goal, Goal()))
    assert wide > narrow


def test_small_models_are_promoted_too():
    goal = parse_goal(None, (), "quality,size")
    search, _, _ = simulate(goal, longest=SHORT)
    sizes = [latency(record.request)["size_mb"] for record in promoted(search) if record.purpose is Purpose.SEARCH]
    assert min(sizes) < 0.3 < max(sizes)


def test_a_front_of_costs_is_one_of_lengths():
    goal = parse_goal(None, (), "quality,cost")
    search, _, _ = simulate(goal)
    found = front(search.trials, goal, BUDGET, FACTS)
    assert len({record.request.budget for record in found}) > 2 and found[
        -1
    ].request.budget == search.plan.trial_budget(0)
    assert search.final().request.measure == ()


@pytest.mark.parametrize("text", [("loss=0.5", "latency_ms<=5", "quality,size"), (None, (), "quality,latency")])
def test_the_same_seed_decides_the_same_way(text):
    goal = parse_goal(*text)
    one, other = (simulate(goal, budget=Budget(seconds=200)) for _ in range(2))
    assert one[2].entries == other[2].entries
