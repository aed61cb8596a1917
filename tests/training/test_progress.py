"""Progress from made-up costs, mostly without training."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import COOLDOWN, OutcomeKind, TrialRequest
from autoaccel.training.data.task import Task
from autoaccel.training.meters.progress import Progress
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

UNIT = Cost(seconds=0.5, flops=2e6, steps=1, samples=64)
"""Cost of one step."""


def progress(budget, **changes):
    given = {"setup": Cost(), "evaluation": Cost(), "evaluations": 1, "finalization": Cost(), **changes}
    return Progress(budget, **given)


def steps_to_the_end(made, first):
    """Return the progress at each step, from step `first` until progress is 1."""
    found = []
    while not found or found[-1] < 1:
        found.append(made.read(made.setup + made.evaluated + UNIT * (first + len(found))))
    return found


@pytest.mark.parametrize("name", ["seconds", "flops", "steps", "samples"])
def test_the_rest_is_walked_through_within_a_share_of_what_was_used(name):
    made = progress(Budget(**{name: 1000 * getattr(UNIT, name)}))
    for step in range(201):
        made.read(UNIT * step)
    assert made.p == pytest.approx(0.2)
    made.finish_early(0.25)
    assert made.p == pytest.approx(0.2)
    rest = steps_to_the_end(made, 201)
    assert len(rest) == 50 and rest[-1] == 1
    moves = [b - a for a, b in zip([0.2, *rest], rest, strict=False)]
    assert moves == pytest.approx([0.8 / 50] * 50)


def test_asking_again_changes_nothing():
    walks = []
    for times in (1, 3):
        made = progress(Budget(steps=1000))
        for step in range(201):
            made.read(UNIT * step)
        made.finish_early(0.25)
        walk = []
        for step in range(201, 260):
            walk.append(made.read(UNIT * step))
            if times > 1:
                made.finish_early(0.5)
        walks.append(walk)
    assert walks[0] == walks[1]


def test_finishing_early_never_takes_more_than_the_budget_allows():
    made = progress(Budget(steps=1000))
    for step in range(951):
        made.read(UNIT * step)
    made.finish_early(0.25)
    assert len(steps_to_the_end(made, 951)) == 50


def test_of_several_limits_the_first_one_counts():
    made = progress(Budget(seconds=500, steps=400))
    for step in range(101):
        made.read(UNIT * step)
    assert made.p == pytest.approx(0.25)
    made.finish_early(0.2)
    assert len(steps_to_the_end(made, 101)) == 20


def test_set_up_and_evaluations_are_not_what_was_used():
    evaluation = Cost(seconds=30)
    made = progress(Budget(seconds=1000), setup=Cost(seconds=100), evaluation=evaluation, evaluations=2)
    for step in range(201):
        made.read(made.setup + UNIT * step)
    made.book_evaluation(evaluation)
    made.read(made.setup + evaluation + UNIT * 201)
    made.finish_early(1 / 3)
    assert len(steps_to_the_end(made, 202)) == 67


@pytest.mark.parametrize("budget", [Budget(steps=1000), Budget(seconds=500)])
def test_a_training_that_is_asked_before_its_first_step_is_at_its_end(budget):
    made = progress(budget, finishing=lambda: True)
    assert made.read(Cost(seconds=0.01)) == 1


@pytest.mark.parametrize("budget", [Budget(steps=300), Budget(flops=2e6)])
def test_a_training_that_is_asked_to_finish_is_complete_and_annealed(budget, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(200, 8)
    y = (x @ torch.randn(8, 3)).argmax(1)
    task = Task(model=lambda: nn.Linear(8, 3), train=(x, y), test=(x, y))
    request = TrialRequest(0, PLAIN["plain"], budget, milestones=(0.5, 1.0), test=True)
    rates, reports = [], []
    environment = TrialEnvironment(
        SimulatedClock(),
        0.0,
        lambda report: reports.append(report) or True,
        tmp_path,
        cpu=True,
        finishing=lambda: len(rates) >= 100,
    )
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    try:
        outcome = run_trial(task, request, environment)
    finally:
        hook.remove()
    assert outcome.kind is OutcomeKind.COMPLETE and outcome.reason == "asked to finish early"
    assert outcome.cost.steps == len(rates) == 100 + COOLDOWN * 100
    assert [report.progress for report in reports][-1] == 1 and outcome.final == reports[-1]
    assert outcome.test["loss"] > 0 and (tmp_path / "model.safetensors").exists()
    assert rates[99] > 0.6 * max(rates) and rates[-1] < 0.1 * max(rates)


def trained(budget, seconds, **changes):
    """Return the progress before each step of a training whose steps take these seconds, and when it ends."""
    made, spent, found = progress(Budget(seconds=budget), **changes), Cost(), []
    for step in seconds:
        found.append(made.read(spent))
        if found[-1] == 1:
            return found, spent.seconds
        spent = spent + Cost(seconds=step, steps=1)
    raise AssertionError("it did not end")


@pytest.mark.parametrize("stalled", [0, 1, 50, 200])
def test_one_slow_step_does_not_end_a_training(stalled):
    """A stall of most of the budget: all steps that still fit are taken, down to the end of the schedules."""
    seconds = [0.01] * 2000
    seconds[stalled] = 6.0
    found, ended = trained(10.0, seconds)
    assert len(found) - 1 == (10.0 - 6.0) / 0.01 + 1
    assert found[-2] > 0.99 and 9.9 < ended <= 10.0


@pytest.mark.parametrize("step", [0.3, 1.75])
def test_steps_that_are_all_slow_end_in_time(step):
    found, ended = trained(4.0, [step] * 100)
    assert len(found) - 1 == 4.0 // step and ended <= 4.0


def test_an_expected_cost_tells_a_slow_first_step_from_slow_steps():
    assert trained(4.0, [2.5] * 9, step=Cost(seconds=2.0))[1] == 2.5
    assert trained(4.0, [2.5, *[0.1] * 99], step=Cost(seconds=0.1))[1] > 3.7


def test_a_training_of_no_steps_is_no_result(tmp_path):
    task = Task(model=lambda: nn.Linear(8, 3), train=(torch.randn(200, 8), torch.arange(200) % 3))
    for more, kind in (({}, OutcomeKind.INFEASIBLE), ({"finishing": lambda: True}, OutcomeKind.PRUNED)):
        request = TrialRequest(0, PLAIN["plain"], Budget(seconds=1.0), evaluation=Cost(seconds=0.6))
        request = replace(request, milestones=(0.5, 1.0) if not more else (1.0,))
        environment = TrialEnvironment(SimulatedClock(), 0.0, lambda _: True, tmp_path, cpu=True, **more)
        outcome = run_trial(task, request, environment)
        assert outcome.kind is kind and outcome.cost.steps == 0
    assert not (tmp_path / "model.safetensors").exists()
