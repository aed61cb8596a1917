import torch
from torch import nn

from autoaccel import Task


class ImageAndMeta(nn.Module):
    """Takes a pair (image, meta), because our DataModule always hands over a single object."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(24 + 3, 2)

    def forward(self, inputs):
        image, meta = inputs
        return self.head(torch.cat([self.conv(image), meta], dim=1))


g = torch.Generator().manual_seed(18)
meta = torch.randn(600, 3, generator=g)
image = torch.randn(600, 1, 8, 8, generator=g)
y = (meta[:, 0] + 3 * image.mean((1, 2, 3)) > 0).long()

train = ((image[:480], meta[:480]), y[:480])
valid = ((image[480:], meta[480:]), y[480:])
task = Task(model=ImageAndMeta, train=train, valid=valid)
