"""Churn. The target column is 0.0 / 1.0 as it comes from the database."""

import torch
import torch.nn.functional as F
from torch import nn

from autoaccel import Task

g = torch.Generator().manual_seed(6)
usage = torch.randn(1000, 9, generator=g)
churned = (usage[:, 0] * usage[:, 1] + usage[:, 2] + 0.3 * torch.randn(1000, generator=g) > 0).float()

task = Task(
    model=lambda: nn.Sequential(nn.Linear(9, 64), nn.ReLU(), nn.Linear(64, 1)),
    train=(usage[:800], churned[:800]),
    valid=(usage[800:], churned[800:]),
    loss=F.binary_cross_entropy_with_logits,
    metric="accuracy",
)
