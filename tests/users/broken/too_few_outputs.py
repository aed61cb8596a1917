"""Copied the head from the binary project."""

import torch
from torch import nn

from autoaccel import Task

x = torch.randn(400, 6)
y = torch.arange(400) % 7


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.body(x))


task = Task(model=Net, train=(x, y), loss="cross_entropy")
