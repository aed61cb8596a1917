"""14 findings in the paper, 3 here. Mean AUC over findings, positives weighted up."""

import torch
from torch import nn

from autoaccel import Task

gen = torch.Generator().manual_seed(14)
images = torch.randn(700, 1, 8, 8, generator=gen)
findings = (torch.rand(700, 3, generator=gen) < torch.tensor([0.3, 0.2, 0.1])).float()
for k in range(3):
    images[:, 0, 2 * k : 2 * k + 2] += 0.8 * findings[:, k, None, None]

pos_weight = (1 - findings).sum(0) / findings.sum(0)


def cnn():
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 3))


task = Task(
    cnn,
    train=(images[:560], findings[:560]),
    valid=(images[560:], findings[560:]),
    loss=nn.BCEWithLogitsLoss(pos_weight=pos_weight),
    metric="roc_auc",
)
