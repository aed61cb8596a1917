# copied the focal loss from a kaggle kernel. returns a mean
import torch
import torch.nn as nn
import torch.nn.functional as F

from autoaccel import Task


class FocalLoss(nn.Module):
    def __init__(self, gamma=2.0, alpha=0.75):
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def forward(self, inputs, targets):
        ce_loss = F.cross_entropy(inputs, targets, reduction="none")
        pt = torch.exp(-ce_loss)
        return (self.alpha * (1 - pt) ** self.gamma * ce_loss).mean()


g = torch.Generator().manual_seed(9)
x = torch.randn(1000, 6, generator=g)
y = ((x[:, 0] > 0).long() + (x[:, 1] > 1).long()).clamp(max=2)

task = Task(
    model=lambda: nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3)),
    train=(x[:800], y[:800]),
    valid=(x[800:], y[800:]),
    loss=FocalLoss(),
    metric="accuracy",
)
