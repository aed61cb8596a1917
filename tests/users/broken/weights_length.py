import numpy as np
from torch import nn

from autoaccel import Task

rng = np.random.default_rng(0)
X, y = rng.normal(size=(100, 4)), rng.integers(0, 2, 100)
w = rng.random(90)

task = Task(model=lambda: nn.Linear(4, 2), train=(X, y), weights=w)
