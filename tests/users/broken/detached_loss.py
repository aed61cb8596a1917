import torch
import torch.nn.functional as F
from torch import nn

from autoaccel import Task


def loss(output, target):
    picked = output.argmax(1).float()  # no gradient goes through here
    return F.mse_loss(picked, target.float(), reduction="none")


x, y = torch.randn(100, 4), torch.arange(100) % 3
task = Task(lambda: nn.Linear(4, 3), (x, y), loss=loss)
