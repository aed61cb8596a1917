# Big catalogue, so the embedding has sparse=True. (small here)
import torch
from torch import nn

from autoaccel import Task

gen = torch.Generator().manual_seed(3)
n_items = 200
taste = torch.randint(0, 2, (n_items,), generator=gen)
baskets = torch.randint(0, n_items, (1000, 6), generator=gen)
likes = (taste[baskets].sum(1) > 3).long()


class Basket(nn.Module):
    def __init__(self):
        super().__init__()
        self.items = nn.EmbeddingBag(n_items, 32, mode="mean", sparse=True)
        self.out = nn.Linear(32, 2)

    def forward(self, basket):
        return self.out(self.items(basket))


task = Task(model=Basket, train=(baskets[:800], likes[:800]), valid=(baskets[800:], likes[800:]))
