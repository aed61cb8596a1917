import numpy as np
from torch import nn

from autoaccel import Task

rng = np.random.default_rng(1)
X = rng.normal(size=(800, 4)).astype(np.float32)
is_spam = X[:, 0] + X[:, 1] > 0  # dtype bool

task = Task(lambda: nn.Linear(4, 2), train=(X[:600], is_spam[:600]), valid=(X[600:], is_spam[600:]))
