"""I never want to compute the flattened size by hand again -> LazyLinear."""

import torch
from torch import nn

from autoaccel import Task

g = torch.Generator().manual_seed(16)
digits = torch.randint(0, 4, (700,), generator=g)
imgs = 0.4 * torch.randn(700, 1, 9, 9, generator=g)
for i, d in enumerate(digits.tolist()):
    imgs[i, 0, :, 2 * d : 2 * d + 2] += 1


def net():
    return nn.Sequential(
        nn.LazyConv2d(8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(32), nn.ReLU(), nn.LazyLinear(4)
    )


task = Task(model=net, train=(imgs[:560], digits[:560]), valid=(imgs[560:], digits[560:]))
