"""The model file that `autoaccel init` writes."""

TEMPLATE = '''"""What to train. Start with: autoaccel tune model.py --budget 2m"""

import torch
from torch import nn

from autoaccel import Task


def net(hidden: int = 64, dropout: float = 0.0) -> nn.Module:
    """Your model. Its keyword arguments can be searched: see `space` below."""
    return nn.Sequential(nn.Linear(20, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 2))


# Your data: tensors, arrays, any map-style Dataset, a DataLoader, or a function that returns one.
x = torch.randn(2000, 20)
y = (x[:, 0] * x[:, 1] > 0).long()

task = Task(
    model=net,
    train=(x[:1600], y[:1600]),  # a validation set is split from it
    test=(x[1600:], y[1600:]),  # scored once, at the very end
    metric="accuracy",  # any scikit-learn scorer or metric, a callable, "loss" or "perplexity"
    space={"hidden": [32, 64, 128], "dropout": (0.0, 0.5)},
)
'''
