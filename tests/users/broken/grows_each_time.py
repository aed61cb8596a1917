"""The factory reads a global that it changes, so no two models have the same shape."""

import torch
from torch import nn

from autoaccel import Task

sizes = []


def build():
    sizes.append(8)
    return nn.Sequential(nn.Linear(4, sum(sizes)), nn.ReLU(), nn.Linear(sum(sizes), 2))


task = Task(build, (torch.randn(100, 4), torch.arange(100) % 2))
