"""Semantic segmentation in the style of Pascal VOC: 255 is the void border and must not count."""

import torch
import torch.nn as nn
from torch.utils.data import Dataset

from autoaccel import Task

CLASSES = 3


class Shapes(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.corner = torch.randint(1, 8, (n, 2), generator=g)
        self.kind = torch.randint(1, CLASSES, (n,), generator=g)
        self.noise = 0.2 * torch.randn(n, 3, 16, 16, generator=g)

    def __len__(self):
        return len(self.kind)

    def __getitem__(self, i):
        mask = torch.zeros(16, 16, dtype=torch.uint8)
        (r, c), k = self.corner[i].tolist(), int(self.kind[i])
        mask[r - 1 : r + 8, c - 1 : c + 8] = 255
        mask[r : r + 7, c : c + 7] = k
        img = self.noise[i].clone()
        img[k, r : r + 7, c : c + 7] += 1.0
        return img, mask.long()


def mean_iou(y_true, y_pred):
    ious = []
    for c in range(CLASSES):
        inter = ((y_true == c) & (y_pred == c)).sum()
        union = ((y_true == c) | (y_pred == c)).sum()
        ious.append(inter / max(union, 1))
    return float(sum(ious) / CLASSES)


def unet():
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, CLASSES, 3, padding=1))


task = Task(
    model=unet,
    train=Shapes(300, 0),
    valid=Shapes(70, 1),
    loss=nn.CrossEntropyLoss(ignore_index=255),
    metric=mean_iou,
    direction="max",
)
