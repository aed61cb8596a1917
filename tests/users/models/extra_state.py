import torch
from torch import nn

from autoaccel import Task


class Versioned(nn.Module):
    """Keeps its label names with the weights, so that a checkpoint is all we need in production."""

    def __init__(self, labels=("cat", "dog", "fox")):
        super().__init__()
        self.labels = dict(enumerate(labels))
        self.fc = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, len(labels)))

    def get_extra_state(self):
        return {"labels": self.labels, "version": 2}

    def set_extra_state(self, state):
        assert state["version"] == 2
        self.labels = state["labels"]

    def forward(self, x):
        return self.fc(x)


rng = torch.Generator().manual_seed(61)
x = torch.randn(800, 6, generator=rng)
y = x[:, :3].argmax(1)
task = Task(Versioned, train=(x[:640], y[:640]), valid=(x[640:], y[640:]))
