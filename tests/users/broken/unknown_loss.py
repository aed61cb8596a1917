import torch
from torch import nn

from autoaccel import Task

task = Task(
    model=lambda: nn.Linear(4, 3),
    train=(torch.randn(100, 4), torch.arange(100) % 3),
    loss="crossentropy",
)
