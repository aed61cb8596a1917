"""Small residual nets, with dropout modules of rate 0 whose rate a technique may raise."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONTEXT = 32


class ConvBlock(nn.Module):
    """Two convolutions with a shortcut, shape [n, width, h, w] in and out."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block, shape [n, width, h, w] in and out."""
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(x + self.norms[1](self.second(inner)))


def conv_net(channels: int = 1, classes: int = 10, width: int = 16, depth: int = 3) -> nn.Module:
    """Return a residual net for images of any size; its blocks work at half the resolution."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        *[ConvBlock(width) for _ in range(depth)],
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.Linear(4 * width, classes),
    )


class AttentionBlock(nn.Module):
    """Causal attention and a feed-forward layer, both pre-norm residual, shape [n, t, width] in and out."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.0)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block, shape [n, t, width] in and out."""
        n, t, width = x.shape
        q, k, v = self.qkv(self.norms[0](x)).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, width))
        return x + self.feed(self.norms[1](x))


class Transformer(nn.Module):
    """A causal transformer that predicts the next character at every position."""

    def __init__(self, symbols: int, width: int = 48, depth: int = 3, heads: int = 3):
        super().__init__()
        self.symbol, self.place = nn.Embedding(symbols, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*[AttentionBlock(width, heads) for _ in range(depth)])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, symbols))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [n, t] to logits [n, t, symbols]."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.head(self.blocks(self.symbol(tokens) + self.place(places)))


class DenseBlock(nn.Module):
    """A hidden layer with a shortcut, shape [n, width] in and out."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.0), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block, shape [n, width] in and out."""
        return x + self.inner(self.norm(x))


def dense_net(features: int, outputs: int, width: int = 96, depth: int = 3) -> nn.Module:
    """Return a residual multi-layer perceptron."""
    blocks = [DenseBlock(width) for _ in range(depth)]
    return nn.Sequential(nn.Linear(features, width), *blocks, nn.LayerNorm(width), nn.Linear(width, outputs))
