import torch
import torch.nn as nn

from autoaccel import Task


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = x.flatten(1)
        x = torch.relu(self.fc1(x))
        return self.fc2(x)


images, digits = torch.rand(200, 1, 32, 32), torch.randint(0, 10, (200,))
task = Task(model=MLP, train=(images, digits))
