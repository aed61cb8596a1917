"""A small residual net on Fashion-MNIST, or on CIFAR-10: `autoaccel tune examples/images.py --budget 10m`.

Images are read from $AUTOACCEL_DATA, or fetched from openml.org by scikit-learn. `examples/images.py:cifar10`
is the task with color images.
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import fetch_openml
from torch import Tensor, nn

from autoaccel import Task


class Residual(nn.Module):
    """Two convolutions with a shortcut."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(after), nn.BatchNorm2d(after)])
        self.shortcut = nn.Identity() if before == after and stride == 1 else nn.Conv2d(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map shape [n, before, h, w] to [n, after, h / stride, w / stride]."""
        inner = self.norms[1](self.second(F.relu(self.norms[0](self.first(x)))))
        return F.relu(inner + self.shortcut(x))


def resnet(channels: int, width: int = 16) -> nn.Module:
    """Return a residual net of eight layers for images of any size."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        Residual(width, width, 1),
        Residual(width, 2 * width, 2),
        Residual(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, 10),
    )


def images(folder: str, name: str, shape: tuple[int, ...], n_train: int) -> list[tuple[Tensor, Tensor]]:
    """Return training and test set: images with mean 0 and standard deviation 1, and their classes."""
    if root := os.environ.get("AUTOACCEL_DATA"):
        data = np.load(Path(root) / folder / f"{folder}.npz")
        x, y = (np.concatenate([data[f"{part}_train"], data[f"{part}_test"]]) for part in "xy")
        n_train = len(data["y_train"])
        x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    else:
        x, y = fetch_openml(name, version=1, return_X_y=True, as_frame=False, parser="liac-arff")
    x = torch.as_tensor(np.asarray(x, dtype=np.float32)).view(-1, *shape)
    y = torch.as_tensor(np.asarray(y, dtype=np.int64))
    mean, std = x[:n_train].mean((0, 2, 3), keepdim=True), x[:n_train].std((0, 2, 3), keepdim=True)
    x = (x - mean) / std
    return [(x[:n_train], y[:n_train]), (x[n_train:], y[n_train:])]


def fashion() -> Task:
    """Return a task on 28x28 gray images of clothes."""
    train, test = images("fashion_mnist", "Fashion-MNIST", (1, 28, 28), 60_000)
    return Task(model=lambda: resnet(1), train=train, test=test, metric="accuracy", flips=True)


def cifar10() -> Task:
    """Return a task on 32x32 color images of ten classes."""
    train, test = images("cifar10_part", "CIFAR_10", (3, 32, 32), 50_000)
    return Task(model=lambda: resnet(3, width=32), train=train, test=test, metric="accuracy", flips=True)


task = fashion
