"""Prices must be positive, hence the softplus; and I also asked for scaled targets."""

import torch
from torch import nn

from autoaccel import Task

x = torch.randn(300, 4)
price = 100_000 + 20_000 * x[:, 0].abs()
model = lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), nn.Softplus())  # noqa: E731

task = Task(model=model, train=(x, price), target_scaling=True)
