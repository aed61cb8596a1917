import numpy as np
from torch import nn

from autoaccel import Task

rng = np.random.default_rng(0)
X = rng.normal(size=(500, 3)).astype("float32")
X[rng.random((500, 3)) < 0.02] = np.nan  # missing measurements
y = rng.integers(0, 2, 500)

task = Task(model=lambda: nn.Linear(3, 2), train=(X, y))
