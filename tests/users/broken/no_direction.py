import numpy as np
import torch
from torch import nn

from autoaccel import Task


def profit(y_true, y_pred):
    return float(np.sum(y_pred * (2 * y_true - 1)))


task = Task(lambda: nn.Linear(4, 2), (torch.randn(100, 4), torch.arange(100) % 2), metric=profit)
