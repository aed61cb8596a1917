"""Imbalanced classes, oversampled with WeightedRandomSampler."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from autoaccel import Task

gen = torch.Generator().manual_seed(0)
y = (torch.rand(1000, generator=gen) < 0.08).long()
x = torch.randn(1000, 5, generator=gen) + 1.2 * y[:, None] * torch.tensor([1.0, 1, 0, 0, -1])

class_count = torch.bincount(y[:800])
sample_weights = 1.0 / class_count[y[:800]]
sampler = WeightedRandomSampler(sample_weights, num_samples=1280, replacement=True, generator=gen)
loader = DataLoader(TensorDataset(x[:800], y[:800]), batch_size=64, sampler=sampler)
val_loader = DataLoader(TensorDataset(x[800:], y[800:]), batch_size=100)

task = Task(
    model=lambda: nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 2)),
    train=loader,
    valid=val_loader,
    metric="balanced_accuracy",
)
