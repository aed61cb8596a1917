"""x, y, z of a landmark, but the csv only has x and y."""

import torch
from torch import nn

from autoaccel import Task

images = torch.randn(120, 10)
landmarks = torch.randn(120, 2)

task = Task(model=lambda: nn.Linear(10, 3), train=(images, landmarks))
