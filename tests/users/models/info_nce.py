"""SimCLR-like contrastive learning on pairs of views. The loss needs the whole batch, so it is one number."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import TensorDataset

from autoaccel import Task


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 16))

    def forward(self, view1, view2):
        return F.normalize(self.net(view1), dim=-1), F.normalize(self.net(view2), dim=-1)


def info_nce(output, _inputs, temperature=0.2):
    z1, z2 = output
    logits = z1 @ z2.T / temperature
    labels = torch.arange(len(z1), device=z1.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


g = torch.Generator().manual_seed(0)
thing = torch.randn(704, 4, generator=g) @ torch.randn(4, 12, generator=g)
a = thing + 0.5 * torch.randn(704, 12, generator=g)
b = thing + 0.5 * torch.randn(704, 12, generator=g)

task = Task(
    model=Encoder,
    train=TensorDataset(a[:640], b[:640]),
    valid=TensorDataset(a[640:], b[640:]),
    loss=info_nce,
)
