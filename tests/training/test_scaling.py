"""Standardized targets: what is scored and saved answers in the users' units, in any precision of the training."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.training.checkpoint import load_weights
from autoaccel.training.data.task import Task
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment


def test_the_test_score_of_mixed_precision_is_that_of_the_delivered_model(tmp_path):
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    y = 1e5 + 100 * x.sum(1)  # bfloat16 rounds 1e5 to multiples of 512
    task = Task(lambda: nn.Linear(6, 1), (x, y), valid=(x, y), test=(x, y))
    recipe = replace(PLAIN["plain_constant"], techniques={"bf16": {}})
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda report: True, tmp_path, cpu=True)
    outcome = run_trial(task, TrialRequest(0, recipe, Budget(steps=5), test=True), environment)
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason
    model = task.model()
    load_weights(model, tmp_path / "model.safetensors")
    with torch.no_grad():
        expected = F.mse_loss(model(x)[:, 0].double(), y.double()).item()
    assert outcome.test["loss"] == pytest.approx(expected, rel=1e-3)
    assert outcome.final.loss == pytest.approx(expected, rel=0.05)
