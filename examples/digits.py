"""A small convolutional net on scikit-learn's bundled digits: `autoaccel tune examples/digits.py --budget 90s`."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from autoaccel import Task


def net(dropout: float = 0.0) -> nn.Module:
    """Return a net with two convolutions for 8x8 images."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(64 * 4 * 4, 10),
    )


images, labels = load_digits(return_X_y=True)
images = torch.from_numpy((images / 16).astype(np.float32)).view(-1, 1, 8, 8)
x, x_test, y, y_test = train_test_split(images, labels, test_size=0.3, random_state=0, stratify=labels)

task = Task(
    model=net,
    train=(x, y),
    test=(x_test, y_test),
    metric="log_loss",
    space={"dropout": (0.0, 0.5)},
)
