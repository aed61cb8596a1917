"""A small net on California house prices: `autoaccel tune examples/regression.py --budget 3m`.

The table is read from $AUTOACCEL_DATA/california_housing (with pandas), or fetched by scikit-learn.
"""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import fetch_california_housing
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import QuantileTransformer
from torch import nn

from autoaccel import Task


def table() -> list[np.ndarray]:
    """Return the features of the training and test rows, then their prices in dollars."""
    root = os.environ.get("AUTOACCEL_DATA")
    if root is None:
        x, y = fetch_california_housing(return_X_y=True)
        return train_test_split(x, 1e5 * y, test_size=0.2, random_state=0)
    import pandas as pd

    folder = Path(root) / "california_housing"
    parts = [pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "test.csv")]
    whole = pd.get_dummies(pd.concat(parts)).fillna(parts[0].median(numeric_only=True))
    y, x = whole.pop("median_house_value").to_numpy(copy=True), whole.to_numpy(dtype=float)
    return [x[: len(parts[0])], x[len(parts[0]) :], y[: len(parts[0])], y[len(parts[0]) :]]


x, x_test, y, y_test = table()
scale = QuantileTransformer(output_distribution="normal", random_state=0).fit(x)


def net() -> nn.Module:
    """Return a net with three hidden layers."""
    sizes = [x.shape[1], 256, 256, 256]
    hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*hidden, nn.Linear(256, 1))


task = Task(
    model=net,
    train=(scale.transform(x), torch.as_tensor(y, dtype=torch.float32)),
    test=(scale.transform(x_test), torch.as_tensor(y_test, dtype=torch.float32)),
    metric="root_mean_squared_error",
)
