"""Node classification with a two-layer GCN; the normalized adjacency is a sparse buffer. A sample is a node id."""

import torch
import torch.nn.functional as F
from torch import nn

from autoaccel import Task

NODES = 400
g = torch.Generator().manual_seed(0)
community = torch.randint(0, 3, (NODES,), generator=g)
same = community[:, None] == community[None, :]
linked = torch.rand(NODES, NODES, generator=g) < torch.where(same, 0.05, 0.005)
linked = (linked | linked.T | torch.eye(NODES, dtype=torch.bool)).float()
degree = linked.sum(1)
adjacency = (linked / (degree[:, None] * degree[None, :]).sqrt()).to_sparse()
features = F.one_hot(community, 3).float() + torch.randn(NODES, 3, generator=g)


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("adj", adjacency.coalesce())
        self.register_buffer("x", features)
        self.w1, self.w2 = nn.Linear(3, 32), nn.Linear(32, 3)

    def forward(self, nodes):
        h = torch.sparse.mm(self.adj, self.w1(self.x)).relu()
        return torch.sparse.mm(self.adj, self.w2(h))[nodes]


ids = torch.randperm(NODES, generator=g)
train, valid = ids[:300], ids[300:]
task = Task(model=GCN, train=(train, community[train]), valid=(valid, community[valid]))
