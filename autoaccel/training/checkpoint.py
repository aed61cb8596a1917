"""Weights on disk, as safetensors: no code is run by loading them, and tied weights are kept once."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors.torch import load_model, save_model
from torch import nn


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's weights so that the file at `path` is always whole."""
    temporary = path.with_suffix(".tmp")
    save_model(model, str(temporary))
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Read weights into a model of the same shape."""
    load_model(model, str(path))
