"""The characters of Shakespeare's plays, for tasks that predict the next one."""

from pathlib import Path

import torch
from torch import Tensor


def read_plays(folder: Path) -> tuple[Tensor, int]:
    """Return the plays as numbers of their symbols, shape [characters], and the number of symbols.

    Args:
        folder: The folder with the data sets.
    """
    plays = (folder / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    symbols = sorted(set(plays))
    places = {symbol: place for place, symbol in enumerate(symbols)}
    return torch.tensor([places[symbol] for symbol in plays]), len(symbols)


def windows(part: Tensor, context: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return windows of characters and what follows each of them, both of shape [windows, context]."""
    cut = part.unfold(0, context + 1, stride)
    return cut[:, :-1], cut[:, 1:]
