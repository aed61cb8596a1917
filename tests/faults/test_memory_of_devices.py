"""Devices whose memory runs out, as an exception; a device that has one is asked where there is one."""

import pytest
import torch
from torch import nn

from autoaccel import Task
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

CUDA = "CUDA out of memory. Tried to allocate 20.00 GiB"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CUDA), RuntimeError(CUDA), MemoryError()], ids=repr)
def test_a_recipe_that_does_not_fit_is_infeasible(error):
    """Fault: the memory runs out with every micro-batch, told in the three ways of torch and Python. Promise: infeasible,
    which is not tried again, with that reason; the next trial in the process trains."""

    class Huge(nn.Linear):
        def forward(self, x):
            if self.training:
                raise error
            return super().forward(x)

    x = torch.rand(200, 4)
    y = (x.sum(1) > 2).long()
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda report: True, cpu=True)
    request = TrialRequest(0, PLAIN["plain"], Budget(steps=10), milestones=(1.0,))
    outcome = run_trial(Task(model=lambda: Huge(4, 2), train=(x, y)), request, environment)
    assert outcome.kind is OutcomeKind.INFEASIBLE and "out of memory" in outcome.reason, outcome
    after = run_trial(Task(model=lambda: nn.Linear(4, 2), train=(x, y)), request, environment)
    assert after.kind is OutcomeKind.COMPLETE
