"""The model is also served by a thread pool, hence the lock around the cache of requests."""

import threading

import torch
from torch import nn

from autoaccel import Task


class Service(nn.Module):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.calls = 0
        self.net = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 3))

    def forward(self, x):
        with self.lock:
            self.calls += len(x)
        return self.net(x)


gen = torch.Generator().manual_seed(71)
x = torch.randn(800, 5, generator=gen)
y = (x.sum(1) > 0).long() + (x[:, 0] > 1).long()

task = Task(model=Service, train=(x[:640], y[:640]), valid=(x[640:], y[640:]), metric="balanced_accuracy")
