"""Inception-like: in training an auxiliary head helps; output is a tuple."""

import torch
from sklearn.metrics import accuracy_score
from torch import nn
from torch.nn.functional import cross_entropy

from autoaccel import Task


class WithAux(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(10, 48), nn.ReLU())
        self.aux = nn.Linear(48, 4)
        self.body = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 4))

    def forward(self, x):
        h = self.stem(x)
        return self.body(h), self.aux(h)


def loss(output, y):
    main, aux = output
    return cross_entropy(main, y, reduction="none") + 0.3 * cross_entropy(aux, y, reduction="none")


def main_accuracy(y, output):
    return accuracy_score(y, output[0].argmax(-1))


gen = torch.Generator().manual_seed(0)
x = torch.randn(1000, 10, generator=gen)
y = x[:, :4].argmax(1)
task = Task(
    WithAux,
    (x[:800], y[:800]),
    (x[800:], y[800:]),
    loss=loss,
    metric=main_accuracy,
    metric_on="output",
    direction="max",
)
