import torch
from torch import nn

from autoaccel import Task

gen = torch.Generator().manual_seed(30)
y = torch.multinomial(torch.tensor([0.7, 0.2, 0.1]), 1000, replacement=True, generator=gen)
centers = torch.randn(3, 10, generator=gen)
x = centers[y] + torch.randn(1000, 10, generator=gen)

# inverse frequency, and a bit of smoothing because the annotators disagree
weight = 1 / torch.bincount(y).float()
criterion = nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1)

task = Task(
    model=lambda: nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 3)),
    train=(x[:800], y[:800]),
    valid=(x[800:], y[800:]),
    loss=criterion,
    metric="f1",
)
