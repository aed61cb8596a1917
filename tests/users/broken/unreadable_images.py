import torch
from torch import nn
from torch.utils.data import Dataset

from autoaccel import Task


class Folder(Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, i):
        if i % 2 == 1:
            raise OSError(f"cannot identify image file 'img_{i:04d}.jpg'")
        return torch.zeros(3, 8, 8), i % 4 // 2


task = Task(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), Folder())
