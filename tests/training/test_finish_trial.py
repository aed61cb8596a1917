"""A training counts once its weights are saved, whatever comes of the test set."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, Purpose, TrialRequest
from autoaccel.training.data.task import Task
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

X, Y = torch.randn(200, 4), torch.arange(200) % 2


def broken(targets, predictions):
    """A metric that fails on the test set, which has 100 samples."""
    if len(targets) == 100:
        raise OSError("stale file handle")
    return float((targets == predictions).mean())


class Slow(nn.Linear):
    """A layer whose every evaluation takes seconds on a simulated clock."""

    clock = SimulatedClock()
    seconds = 0.0

    def forward(self, x):
        self.clock.sleep(0.1 if self.training else self.seconds)
        return super().forward(x)


def run(tmp_path, tested, seconds=0.0, measured=None, **changes):
    Slow.clock, Slow.seconds = SimulatedClock(), seconds
    told = []
    environment = TrialEnvironment(
        Slow.clock, 0.0, lambda report: True, tmp_path / "0000", cpu=True, finished=told.append
    )
    request = TrialRequest(0, PLAIN["plain"], Budget(seconds=10.0), Purpose.FINAL, test=True, grace=0.5)
    task = Task(model=lambda: Slow(4, 2), train=(X, Y), test=tested, **(measured or {}))
    return run_trial(task, replace(request, **changes), environment), told


def test_a_test_set_that_can_be_scored_is(tmp_path):
    outcome, told = run(tmp_path, (X, Y))
    assert outcome.test["metric"] is not None and not outcome.untested
    (before,) = told
    assert before.final == outcome.final and before.untested == "scoring it did not come to its end"


def test_a_test_set_that_fails_does_not_take_the_training_with_it(tmp_path):
    outcome, told = run(tmp_path, (X[:100], Y[:100]), measured={"metric": broken, "direction": "max"})
    assert outcome.kind is OutcomeKind.COMPLETE and outcome.final is not None and not outcome.test
    assert outcome.untested == "OSError: stale file handle" and __file__ in outcome.where
    assert len(told) == 1 and (tmp_path / "0000" / "model.safetensors").exists()


def test_a_test_set_that_takes_longer_than_there_is_time_is_not_scored(tmp_path):
    many = (X.repeat(100, 1), Y.repeat(100))
    outcome, told = run(tmp_path, many, seconds=0.5, milestones=(1.0,), evaluation=Cost(seconds=0.5))
    assert outcome.kind is OutcomeKind.COMPLETE and not outcome.test and not told
    assert outcome.untested.startswith("it takes about ") and outcome.untested.endswith("are left")
    assert outcome.cost.seconds <= 10.5


@pytest.mark.parametrize("test", [True, False])
def test_nothing_is_told_early_where_no_test_follows(tmp_path, test):
    outcome, told = run(tmp_path, None if test else (X, Y), test=test)
    assert outcome.kind is OutcomeKind.COMPLETE and not told and not outcome.untested
