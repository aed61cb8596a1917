"""Log lines come from a file that is read line by line, but we know how many there are."""

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from autoaccel import Task


class LogStream(IterableDataset):
    def __init__(self, n=1280):
        self.n = n

    def __len__(self):
        return self.n

    def __iter__(self):
        g = torch.Generator().manual_seed(0)
        for _ in range(self.n):
            x = torch.randn(6, generator=g)
            yield x, int(x[0] + x[1] > 0)


g = torch.Generator().manual_seed(100)
x_val = torch.randn(200, 6, generator=g)
val = TensorDataset(x_val, (x_val[:, 0] + x_val[:, 1] > 0).long())

task = Task(
    model=lambda: nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2)),
    train=DataLoader(LogStream(), batch_size=64),
    valid=val,
)
