"""Small tasks, and a function that returns one with the capabilities that a technique requires."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from autoaccel.core.catalog import REFERENCE
from autoaccel.training.data.capabilities import task_capabilities
from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.data.task import Task

MACHINE = frozenset({"fast_bf16", "fp16", "fp8", "compiler"})
"""Capabilities of a machine, which no task offers."""


def net():
    body = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(64, 3))


def image_task(model=net):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, 1, 8, 8, generator=generator)
    return Task(model=model, train=(x, torch.arange(300) % 3), flips=True)


def token_task(model=None, length=32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 7, (300, length + 1), generator=generator)
    plain = lambda: nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 7))  # noqa: E731
    return Task(model=model or plain, train=(x[:, :-1], x[:, 1:]))


class ConvBlock(nn.Module):
    """A convolutional residual block."""

    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x):
        return x + self.body(x)


def residual_net():
    blocks = [ConvBlock(4) for _ in range(4)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(4, 3)]
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), *blocks, *head)


class AttentionBlock(nn.Module):
    """A pre-norm transformer block with causal attention."""

    def __init__(self, width):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        q, k, v = self.qkv(self.norms[0](x)).view(*x.shape[:2], 3, 2, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.feed(self.norms[1](x))


def transformer():
    blocks = [AttentionBlock(8) for _ in range(4)]
    return nn.Sequential(nn.Embedding(7, 8), *blocks, nn.LayerNorm(8), nn.Linear(8, 7))


class DenseBlock(nn.Module):
    """A residual block of a multi-layer perceptron."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, width))

    def forward(self, x):
        return x + self.inner(x)


def table_task():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 5, generator=generator)
    model = lambda: nn.Sequential(nn.Linear(5, 8), DenseBlock(8), DenseBlock(8), nn.Linear(8, 3))  # noqa: E731
    return Task(model=model, train=(x, torch.arange(300) % 3))


class Config:
    """The config of a Hugging Face model."""

    def __init__(self):
        self._attn_implementation = "eager"


class Eager(nn.Linear):
    """Looks like a Hugging Face model that computes attention in eager mode."""

    _supports_sdpa = True

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.config = Config()

    def set_attn_implementation(self, name):
        self.config._attn_implementation = name


def eager_task():
    return token_task(lambda: nn.Sequential(nn.Embedding(7, 8), Eager(8, 7)))


class Images(Dataset):
    """A dataset whose samples are fetched one by one."""

    def __init__(self):
        self.x, self.y = image_task().train

    def __len__(self):
        return len(self.x)

    def __getitem__(self, place):
        return self.x[place], self.y[place]


def dataset_task():
    return Task(model=net, train=Images())


SAMPLES = {
    "image": image_task,
    "token": token_task,
    "residual": lambda: image_task(residual_net),
    "eager": eager_task,
    "dataset": dataset_task,
    "transformer": lambda: token_task(transformer),
}


@cache
def _traits(name):
    task = SAMPLES[name]()
    model = build_model(task, {})
    return task_capabilities(task, prepare(task, model, 0), model)


def task_for(info):
    """Return the first small task with the capabilities that a technique requires."""
    asked = info.requires - MACHINE - {REFERENCE}
    for name, make in SAMPLES.items():
        if asked <= _traits(name):
            return make()
    raise LookupError(f"no small task offers {', '.join(asked)} to {info.name}")
