import torch
from torch import nn

from autoaccel import Task


def margin(y_true, logits):
    return float((logits[:, 1] - logits[:, 0]).mean())


x, y = torch.randn(100, 4), torch.arange(100) % 2
task = Task(lambda: nn.Linear(4, 2), (x, y), metric=margin, metric_on="logits", direction="max")
