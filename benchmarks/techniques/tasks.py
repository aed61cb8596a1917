"""The four tasks of the technique table, small enough for hundreds of trainings on two cores.

They are built when this file is imported, so that all workers share their data. The environment variable
AUTOACCEL_DATA names the folder with the data.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from nets import CONTEXT, Transformer, conv_net, dense_net
from plays import read_plays, windows
from torch import Tensor

from autoaccel import Task

FOLDER = Path(os.environ.get("AUTOACCEL_DATA", "AUTOACCEL_DATA is not set"))


def fashion_arrays(n_train: int, n_test: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return standardized images [n, 1, 28, 28] and classes, for training and test."""
    data = np.load(FOLDER / "fashion_mnist" / "fashion_mnist.npz")
    x, x_test = (torch.as_tensor(data[key]).float()[:, None] for key in ("x_train", "x_test"))
    mean, std = x.mean(), x.std()
    x, x_test = (x[:n_train] - mean) / std, (x_test[:n_test] - mean) / std
    y, y_test = (torch.as_tensor(data[key]).long() for key in ("y_train", "y_test"))
    return x, y[:n_train], x_test, y_test[:n_test]


def make_image() -> Task:
    """Return a task on 6,000 images of Fashion-MNIST."""
    x, y, x_test, y_test = fashion_arrays(6_000, 5_000)
    return Task(model=conv_net, train=(x, y), test=(x_test, y_test), metric="accuracy", flips=True)


def make_text() -> Task:
    """Return a task on the characters of Shakespeare, in windows of 32."""
    tokens, symbols = read_plays(FOLDER)
    ninety = int(0.9 * len(tokens))
    held = tokens[ninety:]
    return Task(
        model=lambda: Transformer(symbols),
        train=windows(tokens[:ninety], CONTEXT, 16),
        valid=windows(held[:20_000], CONTEXT, CONTEXT),
        test=windows(held[20_000:70_000], CONTEXT, CONTEXT),
        metric="loss",
    )


def make_table() -> Task:
    """Return a task that classifies letters by 16 numbers each."""
    data = np.load(FOLDER / "letter" / "letter.npz")
    x, x_test = (torch.as_tensor(data[key]).float() for key in ("x_train", "x_test"))
    mean, std = x.mean(0), x.std(0)
    train = ((x - mean) / std, torch.as_tensor(data["y_train"]).long())
    test = ((x_test - mean) / std, torch.as_tensor(data["y_test"]).long())
    return Task(model=lambda: dense_net(16, 26), train=train, test=test, metric="accuracy")


def make_regression() -> Task:
    """Return a task on house prices in California, in units of 100,000 dollars."""
    parts = [pd.read_csv(FOLDER / "california_housing" / f"{part}.csv") for part in ("train", "test")]
    both = pd.concat(parts)
    both["total_bedrooms"] = both["total_bedrooms"].fillna(both["total_bedrooms"].median())
    y = torch.tensor(both.pop("median_house_value").to_numpy() / 1e5).float()
    for name in ("total_rooms", "total_bedrooms", "population", "households"):
        both[name] = np.log1p(both[name])
    x = torch.tensor(pd.get_dummies(both, dtype=float).to_numpy()).float()
    count = len(parts[0])
    x = (x - x[:count].mean(0)) / x[:count].std(0).clamp(min=1e-6)
    features = x.shape[1]
    return Task(
        model=lambda: dense_net(features, 1),
        train=(x[:count], y[:count]),
        test=(x[count:], y[count:]),
        metric="neg_root_mean_squared_error",
    )


image, text, table, regression = make_image(), make_text(), make_table(), make_regression()
