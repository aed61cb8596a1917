import torch
from torch import nn

from autoaccel import Task


def read():
    for i in range(500):
        yield torch.randn(4), i % 2


task = Task(model=lambda: nn.Linear(4, 2), train=(sample for sample in read()), valid_samples=100)
