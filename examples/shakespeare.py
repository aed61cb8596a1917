"""A small causal transformer on the characters of Shakespeare's plays.

`autoaccel tune examples/shakespeare.py --budget 3m`. The text is read from $AUTOACCEL_DATA/tinyshakespeare, or
downloaded once into torch's cache.
"""

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoaccel import Task

CONTEXT = 64
URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"


class Block(nn.Module):
    """Causal attention and a feed-forward layer, both pre-norm residual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block, shape [n, t, width] in and out."""
        n, t, width = x.shape
        qkv = self.qkv(self.norms[0](x)).view(n, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, width))
        return x + self.feed(self.norms[1](x))


class Transformer(nn.Module):
    """A causal transformer that predicts the next character at every position."""

    def __init__(self, symbols: int, width: int = 128, depth: int = 2, heads: int = 4):
        super().__init__()
        self.symbol = nn.Embedding(symbols, width)
        self.place = nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, symbols))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [n, t] to logits [n, t, symbols]."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.head(self.blocks(self.symbol(tokens) + self.place(places)))


def text() -> str:
    """Return the plays as one string."""
    folder = os.environ.get("AUTOACCEL_DATA")
    path = Path(folder or torch.hub.get_dir()) / "tinyshakespeare" / "input.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(path))
    return path.read_text(encoding="utf-8")


def windows(part: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Return windows of `CONTEXT` characters and the character that follows each, as views."""
    cut = part.unfold(0, CONTEXT + 1, stride)
    return cut[:, :-1], cut[:, 1:]


plays = text()
symbols = sorted(set(plays))
places = {symbol: place for place, symbol in enumerate(symbols)}
tokens = torch.tensor([places[symbol] for symbol in plays])
eighty, ninety = int(0.8 * len(tokens)), int(0.9 * len(tokens))

task = Task(
    model=lambda: Transformer(len(symbols)),
    train=windows(tokens[:eighty], 8),
    valid=windows(tokens[eighty:ninety], CONTEXT),
    test=windows(tokens[ninety:], CONTEXT),
    metric="loss",
)
