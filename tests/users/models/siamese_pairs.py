"""Same signature or a forgery? ((left, right), same)"""

import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import Dataset

from autoaccel import Task


class Pairs(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.people = torch.randn(50, 10, generator=torch.Generator().manual_seed(99))
        self.who = torch.randint(0, 50, (n,), generator=g)
        self.same = torch.rand(n, generator=g) < 0.5
        self.noise = 0.3 * torch.randn(n, 2, 10, generator=g)

    def __len__(self):
        return len(self.who)

    def __getitem__(self, i):
        a = int(self.who[i])
        b = a if self.same[i] else (a + 7) % 50
        left, right = self.people[a] + self.noise[i, 0], self.people[b] + self.noise[i, 1]
        return (left, right), self.same[i].float()


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 8))

    def forward(self, left, right):
        return self.embed(left), self.embed(right)


def contrastive(output, same):
    d = F.pairwise_distance(*output)
    return same * d**2 + (1 - same) * F.relu(1 - d) ** 2


def auc(same, output):
    left, right = (torch.as_tensor(o) for o in output)
    return roc_auc_score(same, -F.pairwise_distance(left, right))


task = Task(
    model=Siamese,
    train=Pairs(800, 0),
    valid=Pairs(160, 1),
    loss=contrastive,
    metric=auc,
    metric_on="output",
    direction="max",
)
