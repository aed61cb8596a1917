import torch
from torch import nn

from autoaccel import Task

# stars go from 1 to 5
g = torch.Generator().manual_seed(0)
x = torch.randn(300, 8, generator=g)
stars = torch.randint(1, 6, (300,), generator=g)

task = Task(model=lambda: nn.Linear(8, 5), train=(x, stars))
