"""Multi-task: age (regression) and sex (classification) from one trunk. Output and targets are dicts."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from autoaccel import Task


class People(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.x = torch.randn(n, 12, generator=g)
        self.age = 0.5 * self.x[:, 0] - self.x[:, 1]
        self.sex = (self.x[:, 2] > 0).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], {"age": self.age[i], "sex": self.sex[i]}


class MultiTask(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(12, 64), nn.ReLU())
        self.age, self.sex = nn.Linear(64, 1), nn.Linear(64, 2)

    def forward(self, x):
        h = self.trunk(x)
        return {"age": self.age(h).squeeze(1), "sex": self.sex(h)}


def joint_loss(out, target):
    return F.mse_loss(out["age"], target["age"]) + F.cross_entropy(out["sex"], target["sex"])


task = Task(MultiTask, train=People(900, 0), valid=People(180, 1), loss=joint_loss, metric="loss")
