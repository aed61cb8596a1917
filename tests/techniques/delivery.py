"""Measure one loss three times: at the last evaluation, after finalization, and from the saved file."""

from dataclasses import dataclass

import torch
from safetensors.torch import load_file
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.training.data.task import Task
from autoaccel.training.run_trial import run_trial
from autoaccel.training.scoring import score_weights
from autoaccel.training.trial_environment import TrialEnvironment


@dataclass
class Found:
    """The losses and the saved weights of one training."""

    evaluated: float
    finalized: float
    loaded: float
    saved: dict[str, torch.Tensor]


def net():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 256),
        nn.ReLU(),
        nn.Linear(256, 3),
    )


def net_task(model=net):
    """Images of three classes: brighter in the upper half, in the lower half, or nowhere."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 3
    x = torch.rand(400, 1, 8, 8, generator=generator)
    x[y == 0, :, :4] += 0.5
    x[y == 1, :, 4:] += 0.5
    return Task(model=model, train=(x[:300], y[:300]), valid=(x[300:], y[300:]), test=(x[300:], y[300:]))


def judged_and_delivered(task, techniques, folder, steps=40):
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda report: True, folder=folder, cpu=True)
    recipe = Recipe(techniques=techniques)
    outcome = run_trial(task, TrialRequest(0, recipe, Budget(steps=steps), test=True), environment)
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason
    path = folder / "model.safetensors"
    scored = score_weights(task, recipe, path, SimulatedClock(), 0, cpu=True)
    return Found(outcome.final.loss, outcome.test["loss"], scored["loss"], load_file(path))
