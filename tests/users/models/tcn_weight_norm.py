# Temporal convolutional network with weight norm (both the old and the new one, we are migrating)
import warnings

import torch
import torch.nn as nn
from torch.nn.utils import weight_norm as old_weight_norm
from torch.nn.utils.parametrizations import weight_norm

from autoaccel import Task

warnings.filterwarnings("ignore", category=FutureWarning)


class TCN(nn.Module):
    def __init__(self, channels=16):
        super().__init__()
        self.conv1 = weight_norm(nn.Conv1d(2, channels, 3, padding=2))
        self.conv2 = old_weight_norm(nn.Conv1d(channels, channels, 3, padding=4, dilation=2))
        self.linear = nn.Linear(channels, 1)

    def forward(self, x):  # [n, t, c]
        h = x.transpose(1, 2)
        t = h.size(-1)
        h = torch.relu(self.conv1(h)[..., :t])
        h = torch.relu(self.conv2(h)[..., :t])
        return self.linear(h[..., -1]).squeeze(1)


# the adding problem
g = torch.Generator().manual_seed(25)
values = torch.rand(800, 10, generator=g)
marks = torch.zeros(800, 10)
marks[:, 6] = marks[:, 9] = 1
x = torch.stack([values, marks], dim=2)
y = values[:, 6] + values[:, 9]

task = Task(TCN, (x[:640], y[:640]), valid=(x[640:], y[640:]), loss="l1_loss", target_scaling=False)
