"""The tasks whose trainings are recorded: small models, so that thousands of trainings fit one core.

The environment variable AUTOACCEL_DATA names the folder with the data; digits come with scikit-learn.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from autoaccel import Task
from benchmarks.techniques.nets import CONTEXT, Transformer, conv_net, dense_net
from benchmarks.techniques.plays import read_plays, windows

BUDGETS = (0.2, 0.6, 1.8, 5.4)
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Recorded:
    """A task to record.

    Args:
        make: Builds the task.
        space: The shipped search space its recipes come from.
        budgets: Seconds of a trial on each rung, ascending.
    """

    make: Callable[[], Task]
    space: str
    budgets: tuple[float, ...] = BUDGETS


def arrays(folder: str, name: str = "") -> Arrays:
    """Return the arrays of a data set."""
    root = Path(os.environ.get("AUTOACCEL_DATA", "AUTOACCEL_DATA is not set"))
    return np.load(root / folder / f"{name or folder}.npz")


def standardized(x: np.ndarray, x_test: np.ndarray, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return both as floats; over `axes` the training part has mean 0 and standard deviation 1."""
    parts = torch.as_tensor(x).float(), torch.as_tensor(x_test).float()
    mean, std = parts[0].mean(axes, keepdim=True), parts[0].std(axes, keepdim=True).clamp(min=1e-6)
    return (parts[0] - mean) / std, (parts[1] - mean) / std


def digits() -> Task:
    """Digits of 8 x 8 pixels, which must not be mirrored: a hundred passes."""
    x, y = load_digits(return_X_y=True)
    x, y = x.reshape(-1, 1, 8, 8), torch.as_tensor(y)
    inputs, others = standardized(x[:700], x[700:], (0, 1, 2, 3))
    return Task(
        model=conv_net_of(1, 16),
        train=(inputs, y[:700]),
        valid=(others[:500], y[700:1200]),
        test=(others[500:], y[1200:]),
        metric="accuracy",
    )


def fashion() -> Task:
    """Fashion-MNIST, 8,000 images at half the resolution: about ten passes."""
    return pictures(arrays("fashion_mnist"), 8_000, 4_000, width=8, flips=True)


def cifar() -> Task:
    """A part of CIFAR-10, 8,000 images at half the resolution: about five passes."""
    return pictures(arrays("cifar10_part"), 8_000, 2_000, width=12, flips=True)


def speech() -> Task:
    """Spoken digits as log-mel pictures at half the resolution, which must not be mirrored: twenty passes."""
    return pictures(arrays("fsdd", "fsdd_logmel"), 2_700, 300, width=8, flips=False)


def pictures(data: Arrays, train: int, test: int, width: int, flips: bool) -> Task:
    """Return the classification of pictures at half their resolution, whose channels come last or are missing."""
    x, x_test = (data["x_train"][:train], data["x_test"][:test])
    x, x_test = ((p[:, None] if p.ndim == 3 else p.transpose(0, 3, 1, 2)) for p in (x, x_test))
    x, x_test = (F.avg_pool2d(part, 2) for part in standardized(x, x_test, (0, 2, 3)))
    y, y_test = classes(data, train, test)
    model = conv_net_of(x.shape[1], width)
    return Task(model=model, train=(x, y), test=(x_test, y_test), metric="accuracy", flips=flips)


def letter() -> Task:
    """Letters by 16 numbers each."""
    return table("letter", 26)


def satimage() -> Task:
    """Kinds of land by 36 numbers each, a small table: about fifty passes."""
    return table("satimage", 6)


def bank() -> Task:
    """Whether a customer of a bank subscribes: imbalanced, and little can be known."""
    root = Path(os.environ["AUTOACCEL_DATA"]) / "bank"
    both = pd.concat([pd.read_csv(root / f"{part}.csv") for part in ("train", "test")])
    y = torch.tensor(both.pop("y").to_numpy()).long()
    count = len(pd.read_csv(root / "train.csv", usecols=["y"]))
    inputs = pd.get_dummies(both, dtype=float).to_numpy()
    x, x_test = standardized(inputs[:count], inputs[count:], (0,))
    model = dense_net_of(x.shape[1], 2)
    return Task(model=model, train=(x, y[:count]), test=(x_test, y[count:]), metric="loss")


def shakespeare() -> Task:
    """The next character of Shakespeare's plays, in windows of 32: a third of a pass."""
    tokens, symbols = read_plays(Path(os.environ["AUTOACCEL_DATA"]))
    ninety = int(0.9 * len(tokens))
    return Task(
        model=lambda: Transformer(symbols, 32, 2, 2),
        train=windows(tokens[:ninety], CONTEXT, 16),
        valid=windows(tokens[ninety : ninety + 20_000], CONTEXT, CONTEXT),
        test=windows(tokens[ninety + 20_000 : ninety + 80_000], CONTEXT, CONTEXT),
        metric="loss",
    )


def table(name: str, outputs: int) -> Task:
    """Return the classification of a numeric table."""
    data = arrays(name)
    x, x_test = standardized(data["x_train"], data["x_test"], (0,))
    train, test = classes(data)
    model = dense_net_of(x.shape[1], outputs)
    return Task(model=model, train=(x, train), test=(x_test, test), metric="accuracy")


def conv_net_of(channels: int, width: int) -> Callable[[], torch.nn.Module]:
    """Return a factory of residual nets with two blocks, for ten classes."""
    return lambda: conv_net(channels, 10, width, 2)


def dense_net_of(features: int, outputs: int) -> Callable[[], torch.nn.Module]:
    """Return a factory of residual multi-layer perceptrons with two blocks."""
    return lambda: dense_net(features, outputs, 64, 2)


def classes(
    data: Mapping[str, np.ndarray], train: int | None = None, test: int | None = None
) -> tuple[Tensor, ...]:
    """Return the classes of the first samples of both parts."""
    return torch.as_tensor(data["y_train"][:train]).long(), torch.as_tensor(data["y_test"][:test]).long()


TASKS: Mapping[str, Recorded] = {
    "digits": Recorded(digits, "vision"),
    "satimage": Recorded(satimage, "tabular"),
    "fashion": Recorded(fashion, "vision"),
    "letter": Recorded(letter, "tabular"),
    "speech": Recorded(speech, "vision"),
    "shakespeare": Recorded(shakespeare, "text"),
    "bank": Recorded(bank, "tabular"),
    "cifar": Recorded(cifar, "vision"),
}
