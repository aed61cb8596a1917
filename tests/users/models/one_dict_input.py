"""A model in the style of recommender code bases: forward takes ONE dict of features."""

import torch
from torch import nn
from torch.utils.data import Dataset

from autoaccel import Task


class Clicks(Dataset):
    def __init__(self, rows):
        g = torch.Generator().manual_seed(0)
        n = 1000
        self.user, self.item = torch.randint(0, 20, (n,), generator=g), torch.randint(0, 30, (n,), generator=g)
        self.price = torch.rand(n, generator=g)
        self.click = ((self.user % 2 == self.item % 2) & (self.price < 0.8)).float()
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        r = self.rows[i]
        return {"user": self.user[r], "item": self.item[r], "price": self.price[r]}, self.click[r]


class Recommender(nn.Module):
    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(20, 16), nn.Embedding(30, 16)
        self.mlp = nn.Sequential(nn.Linear(33, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, batch):
        h = torch.cat([self.users(batch["user"]), self.items(batch["item"]), batch["price"][:, None]], dim=1)
        return self.mlp(h).squeeze(1)


task = Task(
    model=Recommender,
    train=Clicks(range(800)),
    valid=Clicks(range(800, 1000)),
    loss=nn.BCEWithLogitsLoss(),
    metric="roc_auc",
)
