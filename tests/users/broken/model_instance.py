import torch
from torch import nn

from autoaccel import Task

model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
x, y = torch.randn(100, 4), torch.arange(100) % 2

task = Task(model=model, train=(x, y))
