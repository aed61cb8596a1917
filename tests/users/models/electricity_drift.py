"""Hourly prices, ordered in time, with inflation: the future is more expensive than anything in the past."""

import torch
from torch import nn

from autoaccel import Task

g = torch.Generator().manual_seed(4)
n = 1250
t = torch.arange(n) / n
hour = torch.arange(n) % 24
x = torch.stack([torch.sin(hour / 24 * 6.283), torch.cos(hour / 24 * 6.283), torch.randn(n, generator=g), t], 1)
price = 40 + 25 * x[:, 0] - 10 * x[:, 2] + 120 * t**2 + torch.randn(n, generator=g)

task = Task(
    model=lambda: nn.Sequential(nn.Linear(4, 48), nn.GELU(), nn.Linear(48, 1)),
    train=(x, price[:, None]),
    order="time",
)
