# FaceNet style. dataset gives (anchor, positive, negative) and nothing else
import torch
from torch import nn
from torch.utils.data import Dataset

from autoaccel import Task


class Triplets(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        faces = torch.randn(30, 8, generator=torch.Generator().manual_seed(1))
        i = torch.randint(0, 30, (n,), generator=g)
        j = (i + torch.randint(1, 30, (n,), generator=g)) % 30
        jitter = 0.6 * torch.randn(3, n, 8, generator=g)
        self.anchor, self.pos, self.neg = faces[i] + jitter[0], faces[i] + jitter[1], faces[j] + jitter[2]

    def __len__(self):
        return len(self.anchor)

    def __getitem__(self, k):
        return self.anchor[k], self.pos[k], self.neg[k]


class FaceNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 16))

    def forward(self, anchor, positive, negative):
        return self.f(anchor), self.f(positive), self.f(negative)


triplet = nn.TripletMarginLoss(margin=1.0)

task = Task(FaceNet, Triplets(900, 0), valid=Triplets(64, 5), loss=lambda out, batch: triplet(*out))
