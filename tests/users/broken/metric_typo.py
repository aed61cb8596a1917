import torch
from torch import nn

from autoaccel import Task

x, y = torch.randn(100, 4), torch.arange(100) % 3
task = Task(lambda: nn.Linear(4, 3), (x, y), metric="acuracy")
