"""One-class detector, targets like torchvision's: a list of dicts with boxes and labels."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from autoaccel import Task

GRID, CELL = 4, 4


class Squares(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.samples = []
        for _ in range(n):
            img = 0.1 * torch.randn(1, 16, 16, generator=g)
            cells = torch.randperm(GRID * GRID, generator=g)[: int(torch.randint(0, 3, (1,), generator=g))]
            boxes = []
            for cell in cells.tolist():
                r, c = CELL * (cell // GRID), CELL * (cell % GRID)
                size = int(torch.randint(2, 4, (1,), generator=g))
                img[0, r : r + size, c : c + size] += 1
                boxes.append([c, r, c + size, r + size])
            target = {"boxes": torch.tensor(boxes).float().reshape(-1, 4), "labels": torch.ones(len(boxes)).long()}
            self.samples.append((img, target))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        return self.samples[i]


def collate(samples):
    images, targets = zip(*samples, strict=True)
    return torch.stack(images), list(targets)  # number of boxes differs, cannot be stacked


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 24, CELL, stride=CELL), nn.ReLU(), nn.Conv2d(24, 24, 1), nn.ReLU())
        self.score, self.size = nn.Conv2d(24, 1, 1), nn.Conv2d(24, 1, 1)

    def forward(self, images):
        h = self.body(images)
        return {"score": self.score(h)[:, 0], "size": self.size(h)[:, 0]}


def detection_loss(output, targets):
    losses = []
    for score, size, t in zip(output["score"], output["size"], targets, strict=True):
        there, wanted = torch.zeros_like(score), torch.zeros_like(size)
        for x0, y0, x1, _ in t["boxes"].tolist():
            there[int(y0) // CELL, int(x0) // CELL] = 1
            wanted[int(y0) // CELL, int(x0) // CELL] = x1 - x0
        found = F.binary_cross_entropy_with_logits(score, there)
        losses.append(found + 0.1 * (there * (size - wanted) ** 2).sum())
    return torch.stack(losses)


task = Task(Detector, Squares(320, 0), valid=Squares(64, 1), loss=detection_loss, collate=collate)
