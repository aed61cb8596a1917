import torch
from torch import nn

from autoaccel import Task


def pretrained():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    for p in net.parameters():
        p.requires_grad_(False)  # TODO unfreeze the head
    return net


task = Task(model=pretrained, train=(torch.randn(100, 4), torch.arange(100) % 2))
