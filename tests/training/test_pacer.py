"""The training that times steps."""

import torch
from torch import nn

from autoaccel import Task
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, Purpose, TrialRequest
from autoaccel.training.run_trial import FAR, run_trial
from autoaccel.training.trial_environment import TrialEnvironment


def paced(budget, seconds):
    """Time steps that take so long."""
    x, clock = torch.rand(200, 4), SimulatedClock()

    def stopped():  # called once a step
        clock.advance_to(clock.now() + seconds)
        return False

    environment = TrialEnvironment(clock, 0.0, lambda report: True, cpu=True, stopped=stopped)
    request = TrialRequest(0, PLAIN["plain"], budget, Purpose.PACE, milestones=(1.0,))
    return run_trial(Task(model=lambda: nn.Linear(4, 2), train=(x, (x.sum(1) > 2).long())), request, environment)


def test_it_ends_before_its_budget_does():
    outcome = paced(Budget(steps=13), 0.25)
    assert outcome.kind is OutcomeKind.COMPLETE and outcome.cost.steps == 12  # the first above 90 %
    outcome = paced(Budget(seconds=10), 0.25)
    assert outcome.kind is OutcomeKind.COMPLETE and 10 * FAR <= outcome.cost.seconds < 10


def test_it_says_how_long_a_step_takes():
    assert paced(Budget(seconds=10), 0.25).pace == 0.25
