import torch
from torch import nn

from autoaccel import Task


def collate(batch):
    xs, ys = zip(*batch, strict=True)
    return torch.stack(xs), torch.tensor(ys)  # lengths differ: needs padding


data = [(torch.arange(3 + i % 5), i % 2) for i in range(100)]
task = Task(lambda: nn.EmbeddingBag(10, 2), data, collate=collate)
