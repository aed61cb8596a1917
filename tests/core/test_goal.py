"""Goals as users write them: what is accepted, what is refused, and when they are reached or broken."""

import math

import pytest

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.goal import Goal, parse_goal
from autoaccel.core.quantities import Cost
from autoaccel.core.trial import Outcome, OutcomeKind, Report
from autoaccel.errors import UsageError

FACTS = TaskFacts("table", frozenset(), "accuracy", True, 100, 20)


def report(metric, error):
    return Report(0, 0, 1.0, metric, 0.1, error, Cost())


def test_what_users_write_is_read():
    goal = parse_goal("accuracy=0.97", ["latency_ms<=5", "recall >= 0.9"], "quality,size")
    assert str(goal.target) == "accuracy 0.97"
    assert [str(one) for one in goal.constraints] == ["latency_ms<=5", "recall>=0.9"]
    assert goal.measures == ("latency_ms", "recall", "size_mb")
    assert parse_goal(None, "recall>=0.9", "quality,cost").measures == ("recall",)
    assert not parse_goal(None, (), None) and parse_goal(None, (), None) == Goal()


@pytest.mark.parametrize(
    "target, subject_to, objective, message",
    [
        ("accuracy", (), None, "METRIC=VALUE"),
        ("accuracy>=0.9", (), None, "METRIC=VALUE"),
        ("=0.9", (), None, "METRIC=VALUE"),
        ("accuracy=high", (), None, "METRIC=VALUE"),
        ("accuracy=nan", (), None, "METRIC=VALUE"),
        (None, "latency_ms=5", None, "NAME<=VALUE"),
        (None, "latency_ms<5", None, "NAME<=VALUE"),
        (None, "latency_ms<=fast", None, "NAME<=VALUE"),
        (None, "latency_ms>=5", None, "limited from above"),
        (None, "size_mb<=-1", None, "limited from above"),
        (None, "latency<=5", None, "write latency_ms"),
        (None, "cost<=5", None, "--budget"),
        (None, ["size_mb<=5", "size_mb<=4"], None, "size_mb"),
        (None, ["recall<=0.5", "recall>=0.9"], None, "recall"),
        (None, (), "quality", "is not one of quality,cost"),
        (None, (), "quality,quality", "is not one of quality,cost"),
        (None, (), "quality,sise", "did you mean 'size'"),
        (None, (), "size,quality", "is not one of quality,cost"),
    ],
)
def test_what_is_not_understood_is_refused(target, subject_to, objective, message):
    with pytest.raises(UsageError, match=message):
        parse_goal(target, subject_to, objective)


def test_both_sides_of_a_metric_may_be_limited():
    assert len(parse_goal(None, ["recall>=0.5", "recall<=0.9"], None).constraints) == 2


def test_the_target_names_the_metric_of_the_task():
    with pytest.raises(UsageError, match=r"the metric of this task is accuracy; write accuracy=VALUE"):
        parse_goal("f1=0.9", (), None).suits(FACTS)
    parse_goal("accuracy=0.9", (), None).suits(FACTS)


@pytest.mark.parametrize("goal", [("accuracy=0.9", (), None), (None, (), "quality,size")])
def test_single_models_are_not_compared_on_folds(goal):
    from dataclasses import replace

    with pytest.raises(UsageError, match="mean of 5 folds"):
        parse_goal(*goal).suits(replace(FACTS, folds=5))


def test_nothing_measured_decides_in_a_run_of_flops():
    goal = parse_goal(None, "latency_ms<=5", None)
    with pytest.raises(UsageError, match="latency_ms depends on the machine"):
        goal.check(Budget(flops=1e12))
    goal.check(Budget(flops=1e12, seconds=60))
    parse_goal(None, "size_mb<=5", "quality,cost").check(Budget(flops=1e12))


def test_a_target_is_reached_beyond_the_noise():
    target = parse_goal("accuracy=0.9", (), None).target
    assert not target.reached(report(0.91, 0.01), True, 1000)
    assert target.reached(report(0.92, 0.01), True, 1000)
    assert target.reached(report(0.90, None), True, 1000)
    least = parse_goal("loss=0.9", (), None).target
    assert least.reached(report(0.88, 0.01), False, 9) and not least.reached(report(0.89, 0.01), False, 9)


def test_a_faultless_score_of_few_samples_proves_little():
    target = parse_goal("accuracy=0.99", (), None).target
    assert not target.reached(report(1.0, 0.0), True, 250) and target.reached(report(1.0, 0.0), True, 301)


def test_how_much_a_value_breaks_a_constraint():
    most, least = parse_goal(None, ["latency_ms<=5", "recall>=0.8"], None).constraints
    assert most.excess(5.0) == 0 and most.excess(6.0) == pytest.approx(0.2) and most.excess(None) == math.inf
    assert least.excess(0.8) == 0 and least.excess(0.6) == pytest.approx(0.25)


def test_the_second_objective_is_measured_or_what_the_budget_limits():
    outcome = Outcome(OutcomeKind.COMPLETE, Cost(seconds=3, flops=7), measured={"size_mb": 2.0, "bad": math.nan})
    assert dict(outcome.measured) == {"size_mb": 2.0}
    for objective, budget, value in (("size", Budget(seconds=9), 2), ("cost", Budget(seconds=9), 3), ("cost", Budget(flops=9), 7)):  # fmt: skip
        assert parse_goal(None, (), f"quality,{objective}").second_of(outcome, budget) == value
