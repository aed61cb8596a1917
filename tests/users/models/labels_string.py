"""Iris without loading iris: labels are the names."""

import numpy as np
import pandas as pd
from torch import nn

from autoaccel import Task

rng = np.random.default_rng(0)
names = np.array(["virginica", "setosa", "versicolor"])
which = rng.integers(0, 3, 600)
iris = pd.DataFrame(
    {
        "petal_length": np.array([2.0, -2.0, 0.0])[which] + rng.normal(0, 0.5, 600),
        "petal_width": np.array([1.0, -1.0, 0.0])[which] + rng.normal(0, 0.5, 600),
        "species": names[which],
    }
)
x, y = iris[["petal_length", "petal_width"]], iris["species"]

task = Task(
    model=lambda: nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 3)),
    train=(x[:480], y[:480]),
    valid=(x[480:], y[480:]),
)
