"""Transfer learning: the backbone is frozen for good, BatchNorm included; only the head learns."""

import torch
from torch import nn

from autoaccel import Task


class Transfer(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
        )
        # stands for a checkpoint from the internet
        g = torch.Generator().manual_seed(123)
        with torch.no_grad():
            for p in self.backbone.parameters():
                p.copy_(torch.randn(p.shape, generator=g) * 0.5)
            self.backbone[1].running_mean.copy_(torch.randn(12, generator=g) * 0.1)
            self.backbone[1].running_var.copy_(0.5 + torch.rand(12, generator=g))
        for p in self.backbone.parameters():
            p.requires_grad = False
        self.head = nn.Linear(12 * 16, 3)

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x):
        return self.head(self.backbone(x))


g = torch.Generator().manual_seed(0)
y = torch.randint(0, 3, (900,), generator=g)
x = 0.3 * torch.randn(900, 1, 12, 12, generator=g)
for i in range(900):
    x[i, 0, 4 * y[i] : 4 * y[i] + 4] += 1  # the stripe says the class

task = Task(model=Transfer, train=(x[:700], y[:700]), valid=(x[700:], y[700:]))
