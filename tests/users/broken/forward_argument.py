import torch
from torch import nn

from autoaccel import Task


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.GRU(3, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x, lengths):
        h, _ = self.rnn(x)
        return self.out(h[torch.arange(len(x)), lengths - 1])


task = Task(model=Tagger, train=(torch.randn(100, 7, 3), torch.arange(100) % 2))
