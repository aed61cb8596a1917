import torch
import torch.nn as nn

from autoaccel import Task

# Stack overflow style tagging: a post has 0..4 tags
torch.manual_seed(42)
N, WORDS, TAGS = 1000, 30, 4
posts = (torch.rand(N, WORDS) < 0.2).float()
tags = torch.stack([(posts[:, 5 * k : 5 * k + 5].sum(1) >= 1) for k in range(TAGS)], dim=1).float()


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WORDS, 128), nn.ReLU(), nn.Linear(128, TAGS))

    def forward(self, x):
        return self.net(x)


task = Task(
    model=Tagger,
    train=(posts[:800], tags[:800]),
    valid=(posts[800:], tags[800:]),
    loss=nn.BCEWithLogitsLoss(),
    metric="f1",
)
