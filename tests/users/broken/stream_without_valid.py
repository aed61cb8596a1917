import torch
from torch import nn
from torch.utils.data import IterableDataset

from autoaccel import Task


class Ticks(IterableDataset):
    def __iter__(self):
        g = torch.Generator().manual_seed(0)
        while True:
            x = torch.randn(4, generator=g)
            yield x, x.sum()[None]


task = Task(model=lambda: nn.Linear(4, 1), train=Ticks())
