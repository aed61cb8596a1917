# Land cover from 4-band satellite tiles; clouds are labelled -100. No loss given, should be obvious.
import numpy as np
import torch
from torch import nn

from autoaccel import Task

rng = np.random.default_rng(99)
field = rng.integers(0, 4, size=(400, 4, 4)).repeat(3, axis=1).repeat(3, axis=2)
bands = np.eye(4, dtype=np.float32)[field].transpose(0, 3, 1, 2) + rng.normal(0, 0.5, (400, 4, 12, 12))
clouds = rng.random((400, 12, 12)) < 0.3
labels = np.where(clouds, -100, field)

tiles = torch.tensor(bands, dtype=torch.float32)
labels = torch.tensor(labels)


def fcn():
    return nn.Sequential(nn.Conv2d(4, 24, 1), nn.ReLU(), nn.Conv2d(24, 4, 1))


task = Task(fcn, (tiles[:320], labels[:320]), (tiles[320:], labels[320:]), metric="accuracy")
