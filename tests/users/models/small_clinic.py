"""Only 150 patients, so five folds."""

import torch
from torch import nn

from autoaccel import Task


def task():
    g = torch.Generator().manual_seed(150)
    blood = torch.randn(150, 10, generator=g)
    ill = (blood[:, 0] + blood[:, 1] - 0.7 * blood[:, 5] > 0).long()
    return Task(
        model=lambda: nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2)),
        train=(blood, ill),
        folds=5,
        metric="balanced_accuracy",
    )
