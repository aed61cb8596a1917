"""The very first regression of every course."""

import torch
import torch.nn as nn

from autoaccel import Task

gen = torch.Generator().manual_seed(0)
x = torch.rand(1000, 1, generator=gen) * 6 - 3
y = torch.sin(x) + 0.1 * torch.randn(1000, 1, generator=gen)
y = (y - y[:800].mean()) / y[:800].std()  # normalise, as we were taught

model = lambda: nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))  # noqa: E731

task = Task(model=model, train=(x[:800], y[:800]), valid=(x[800:], y[800:]), loss=nn.MSELoss(), metric="r2")
