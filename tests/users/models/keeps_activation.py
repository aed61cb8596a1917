import torch
import torch.nn as nn

from autoaccel import Task


class GradCamNet(nn.Module):
    """Keeps the last feature map for Grad-CAM plots."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.fc = nn.Linear(8, 2)
        self.features = None

    def forward(self, x):
        self.features = self.conv(x).relu()
        return self.fc(self.features.mean((2, 3)))


g = torch.Generator().manual_seed(4)
y = torch.randint(0, 2, (600,), generator=g)
x = torch.randn(600, 1, 8, 8, generator=g) * (0.5 + y[:, None, None, None])
task = Task(model=GradCamNet, train=(x[:480], y[:480]), valid=(x[480:], y[480:]))
