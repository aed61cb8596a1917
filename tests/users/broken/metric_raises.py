import torch
from torch import nn

from autoaccel import Task


def recall_at_least(y_true, y_pred):
    found = ((y_true == 9) & (y_pred == 9)).sum()
    return int(found) / int((y_true == 9).sum())  # there is no class 9


x, y = torch.randn(200, 4), torch.arange(200) % 3
task = Task(lambda: nn.Linear(4, 3), (x, y), metric=recall_at_least, direction="max")
