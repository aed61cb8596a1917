"""Denoising is for later, first a plain autoencoder. Pixels in [0, 1], sigmoid at the end."""

import torch
import torch.nn as nn

from autoaccel import Task


class AE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 6))
        self.decoder = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 64), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x)).view_as(x)


def blobs(n, seed):
    g = torch.Generator().manual_seed(seed)
    c = torch.rand(n, 2, 1, 1, generator=g) * 7
    yy, xx = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    return torch.exp(-((yy - c[:, 0]) ** 2 + (xx - c[:, 1]) ** 2) / 4)[:, None]


x_train, x_val = blobs(1000, 0), blobs(200, 1)

task = Task(model=AE, train=(x_train, x_train), valid=(x_val, x_val))
