import numpy as np
import torch.nn as nn

from autoaccel import Task

# raw bytes straight from the camera, [n, 1, 10, 10] uint8
rng = np.random.default_rng(5)
labels = rng.integers(0, 2, 700)
frames = rng.integers(0, 60, (700, 1, 10, 10), dtype=np.uint8)
for i, lab in enumerate(labels):
    if lab:
        frames[i, :, 2:5, 2:5] += 120
    else:
        frames[i, :, 6:9, 6:9] += 120


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.conv = nn.Conv2d(1, 8, 3)
        self.fc = nn.Linear(8 * 8 * 8, 2)

    def forward(self, x):
        h = self.conv(self.norm(x)).relu()
        return self.fc(h.flatten(1))


task = Task(CNN, train=(frames[:560], labels[:560]), valid=(frames[560:], labels[560:]))
