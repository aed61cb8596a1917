"""CIFAR-like pickles keep labels as int8."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

from autoaccel import Task

gen = torch.Generator().manual_seed(0)
labels = torch.randint(0, 4, (900,), generator=gen).to(torch.int8)
data = torch.nn.functional.one_hot(labels.long(), 4).float() + 0.7 * torch.randn(900, 4, generator=gen)

task = Task(
    model=lambda: nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 4)),
    train=TensorDataset(data[:700], labels[:700]),
    valid=TensorDataset(data[700:], labels[700:]),
)
