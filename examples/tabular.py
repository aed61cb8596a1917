"""A small net on a bank's sales calls, one in nine successful: `autoaccel tune examples/tabular.py --budget 3m`.

The table is read from $AUTOACCEL_DATA/bank, or fetched from openml.org by scikit-learn; both need pandas.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import fetch_openml
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer
from torch import nn

from autoaccel import Task


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and test rows; column `y` is the target."""
    if root := os.environ.get("AUTOACCEL_DATA"):
        folder = Path(root) / "bank"
        return pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "test.csv")
    table = fetch_openml("bank-marketing", version=1, as_frame=True).frame
    table["y"] = (table.pop("Class").astype(str) == "2").astype(int)
    # Drop the duration of the call: it is known only once the outcome is.
    return train_test_split(table.drop(columns="V12"), test_size=0.2, random_state=0, stratify=table["y"])


rows, test_rows = tables()
columns = make_column_transformer(
    (
        QuantileTransformer(output_distribution="normal", random_state=0),
        make_column_selector(dtype_include="number"),
    ),
    (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_exclude="number")),
)
x = columns.fit_transform(rows.drop(columns="y")).astype(np.float32)
x_test = columns.transform(test_rows.drop(columns="y")).astype(np.float32)


def net(width: int = 128, dropout: float = 0.1) -> nn.Module:
    """Return a net with two hidden layers and two outputs."""
    hidden = [nn.Linear(x.shape[1], width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Dropout(dropout), nn.Linear(width, 2))


task = Task(
    model=net,
    train=(x, torch.as_tensor(rows["y"].to_numpy(copy=True))),
    test=(x_test, torch.as_tensor(test_rows["y"].to_numpy(copy=True))),
    metric="roc_auc",
    class_weights="balanced",
    space={"width": [64, 128, 256], "dropout": (0.0, 0.5)},
)
